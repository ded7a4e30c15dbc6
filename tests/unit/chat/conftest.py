"""Rows as tokens are tested on the laptop's own base and tokenizer, as training is."""

from tests.unit.training.conftest import base, chat_rows, tiny, tiny_copy, tokenizer, write_rows

__all__ = ["base", "chat_rows", "tiny", "tiny_copy", "tokenizer", "write_rows"]
