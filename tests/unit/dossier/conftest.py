"""A whole run's evidence, made up, for the tests of this room; a browser to look at its page."""

from tests.browser import browser, tab
from tests.unit.made_run import _make_tokenizer, _parity_row, _write_safetensors, run, settings

__all__ = ["_make_tokenizer", "_parity_row", "_write_safetensors", "browser", "run", "settings", "tab"]
