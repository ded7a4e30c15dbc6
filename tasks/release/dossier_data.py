"""The data pages of the dossier: what became of every raw row, and what the kept ones look like."""
