"""Two sequences beside each other."""

from collections.abc import Sequence
from typing import Any


def common_prefix(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many leading items two sequences share."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
