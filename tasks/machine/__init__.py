"""What this machine has, what the active profile needs, and what to do where the two differ."""
