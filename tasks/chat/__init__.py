"""One conversation: its shape, its template, its tokens and labels, and the shapes in which parity asks."""
