"""Answers from documents: passages found by words and meaning, shown to the model, its answer held to them."""
