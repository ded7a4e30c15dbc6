"""Files that are copied beside the rows and run by the other trainer's interpreter: nothing of ours is there."""
