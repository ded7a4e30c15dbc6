"""What stands before the checks of a request's fields: places, sizes, times, and what a prompt may cost."""
