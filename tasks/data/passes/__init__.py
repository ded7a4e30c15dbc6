"""Rows by the million: chunks through worker processes, one decision over all rows, files in order."""
