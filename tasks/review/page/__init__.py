"""The page on which a reviewer reads and marks answers, on loopback."""
