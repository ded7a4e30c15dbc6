"""A whole run's evidence, made up, for the tests of this room."""

from tests.unit.made_run import _make_tokenizer, _parity_row, _write_safetensors, run, settings

__all__ = ["_make_tokenizer", "_parity_row", "_write_safetensors", "run", "settings"]
