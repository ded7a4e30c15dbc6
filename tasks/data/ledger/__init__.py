"""The fate of every raw row, and the questions people ask about it."""
