"""The domain pack as data: eight kinds of questions in one schema (README.md here), reading it, its quantities."""
