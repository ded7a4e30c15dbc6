"""A pack of one's own: a folder to start from, and what is wrong with it before a run finds out."""
