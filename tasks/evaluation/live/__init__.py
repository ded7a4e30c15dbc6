"""The live endpoint asked what its version was released on (`tunegate eval live`)."""
