"""The domain pack as asked: prompts, likelihoods, written answers and how they are scored, checks, a judge."""
