"""What an engine may be used for, decided by asking it."""
