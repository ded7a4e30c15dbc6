"""One model server as a process: start, stop, ask, and tell which model answers."""
