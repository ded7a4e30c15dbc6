"""The command line: thin commands over the same functions the flows and DVC call."""
