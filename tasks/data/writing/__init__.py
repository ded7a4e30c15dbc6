"""Prepared rows out again, in the formats other tools read."""
