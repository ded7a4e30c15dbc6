"""People read answers: sampling, a blind page, marks, agreement, callers' feedback, and rows for the next dataset."""
