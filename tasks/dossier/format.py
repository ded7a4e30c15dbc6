"""Numbers and texts as the dossier and the model card write them."""

import math

MEGABYTE = 1e6
BITS = "bits_per_byte"
#: Shares of a handful of items: a decimal would say more than they do.
WHOLE = "whole"
#: A number and its unit stay on one line.
UNIT = "\u00a0%"


def value_words(value: float | None, kind: str) -> str:
    """Return a metric's value: 61.5 % or 1.824; a dash for no number."""
    if value is None or not math.isfinite(value):
        return "–"
    if kind == BITS:
        return f"{value:.3f}"
    return f"{100 * value:.{0 if kind == WHOLE else 1}f}{UNIT}"


def change_words(before: float | None, after: float | None, kind: str) -> str:
    """Return two values with an arrow and one unit: 25.0 → 29.8 %, or 2.227 → 1.849."""
    first, second = value_words(before, kind), value_words(after, kind)
    return f"{first.removesuffix(UNIT) if second.endswith(UNIT) else first} → {second}"


def interval_words(ends: list[float | None], kind: str) -> str:
    """Return an interval: 55.0 to 68.2, or 1.81 to 1.84."""
    if None in ends:
        return ""
    low, high = (end for end in ends if end is not None)
    return f"{low:.3f}–{high:.3f}" if kind == BITS else f"{100 * low:.1f}–{100 * high:.1f}"


def megabytes(size: int) -> str:
    """Return bytes as megabytes."""
    return f"{size / MEGABYTE:,.1f}\u00a0MB"


def count(number: int) -> str:
    """Return a whole number with separators."""
    return f"{number:,}"


def nobreak(text: str) -> str:
    """Return text in which a number and its per cent sign stay on one line."""
    return text.replace(" %", "\u00a0%")


def line(text: str) -> str:
    """Return text as one line that Markdown takes for text: no line breaks, no table bars, no raw HTML."""
    flat = " ".join(str(text).split())
    for character in "\\`*_{}[]<>|":
        flat = flat.replace(character, f"\\{character}")
    return flat


FILTERS = {
    "value": value_words,
    "change": change_words,
    "interval": interval_words,
    "megabytes": megabytes,
    "count": count,
    "line": line,
    "nobreak": nobreak,
}
