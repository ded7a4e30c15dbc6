"""The rows and settings of stage `train`, written for the trainers people know: the same labels, token by token."""
