"""The gate: paired rules, hard checks, and the verdict in words."""
