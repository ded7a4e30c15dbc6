"""Evaluation: C-Eval and the domain pack over HTTP through one served path, parity of tokens, statistics."""
