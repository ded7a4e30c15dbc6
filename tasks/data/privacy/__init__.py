"""Personal data: found in Chinese and English text, then masked, pseudonymized or dropped by policy."""
