"""The page of `tunegate approve --serve`: what a reviewer reads, and a door for signatures made elsewhere."""
