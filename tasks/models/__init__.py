"""Models as folders: where the base comes from, what may enter, how much memory one takes."""
