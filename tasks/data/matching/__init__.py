"""What stands twice and what leaks: normalization, n-grams, duplicates, evaluation items in training rows."""
