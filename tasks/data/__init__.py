"""Raw instruction data to prepared chat rows, with the fate of every row on record."""
