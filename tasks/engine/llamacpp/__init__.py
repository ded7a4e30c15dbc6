"""llama.cpp's server as a process, for checks and tests: in service it stands behind a URL."""
