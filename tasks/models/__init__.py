"""Models as folders: where the base comes from, what may enter, what the tokenizer must say."""
