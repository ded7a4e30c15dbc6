"""Raw files to chat rows: compression, encodings, formats, and what is wrong with a row."""
