"""Four-option questions: how they are asked through lm-eval, which letter an answer means, scores by subject."""
