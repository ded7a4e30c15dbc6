"""The domain pack: questions of eight kinds in one schema, how they are asked, how their answers are scored.

README.md in this folder is the schema.
"""
