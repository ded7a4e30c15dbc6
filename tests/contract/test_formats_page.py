"""docs/formats.md is what the readers make of its examples."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_the_readers_do():
    spec = importlib.util.spec_from_file_location("write_formats", ROOT / "docs" / "write_formats.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "formats.md").read_text(encoding="utf-8") == module.page(), "run: make docs"
