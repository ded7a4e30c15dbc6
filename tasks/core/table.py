"""Text tables whose columns stand straight with Chinese in them: a Han character is two columns wide."""

import unicodedata
from collections.abc import Sequence


def width(text: str) -> int:
    """Return the terminal columns of a text (UAX #11: wide and full-width characters take two)."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, columns: int) -> str:
    """Return the text with spaces up to a number of terminal columns."""
    return text + " " * max(columns - width(text), 0)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head line, every column as wide as its widest cell, no trailing spaces."""
    lines = [head, *rows]
    widths = [max(width(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(pad(cell, columns) for cell, columns in zip(line, widths, strict=True)).rstrip() for line in lines
    )
