"""How engines other than ours are asked what OpenAI's routes do not tell: tokens, scores, greedy continuations."""
