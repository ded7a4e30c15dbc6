"""Rows of dots as inline SVG: before and after on one scale, placed in per cent so that text beside it keeps its size.

Told apart by shape and not by colour alone: before is a ring, after is a disc, so a grey print says the same.
"""

import math
from collections.abc import Sequence
from typing import TypeGuard

from markupsafe import Markup

#: Height of a row and its middle, in pixels; widths are the column's own.
HEIGHT, MIDDLE = 18, 9
#: The outermost dots stay whole within the row.
EDGE_PERCENT = 2.0
#: No score is larger.
LARGEST = 1e12


def dots(
    before: float | None,
    after: float | None,
    scale: tuple[float, float],
    *,
    interval: tuple[float, float] | None = None,
    mark: float | None = None,
    better_is_left: bool = False,
) -> Markup:
    """Return a row with a ring before, a disc after, and the interval of the disc; text beside it says the numbers.

    Args:
        before: value at the earlier hop; None draws no ring.
        after: value at the later hop; None draws no disc.
        scale: values at the two ends.
        interval: ends of the interval around `after`.
        mark: value a dashed line stands at: chance, or a floor.
        better_is_left: turn the scale around, so that right is better.
    """
    low, high = scale

    def x(value: float) -> str:
        share = min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0)
        share = 1 - share if better_is_left else share
        return f"{EDGE_PERCENT + (100 - 2 * EDGE_PERCENT) * share:.2f}%"

    parts = [_line("axis", "0", "100%")]
    if mark is not None:
        parts.append(f'<line class="mark" x1="{x(mark)}" x2="{x(mark)}" y1="1" y2="{HEIGHT - 1}"/>')
    if interval is not None:
        parts.append(_line("span", *(x(end) for end in interval)))
    for kind, radius, value in (("before", 3.6, before), ("after", 4.2, after)):
        if _drawable(value):
            parts.append(f'<circle class="{kind}" cx="{x(value)}" cy="{MIDDLE}" r="{radius}"/>')
    # Only numbers are put in; there is nothing to escape.
    return Markup(f'<svg class="dots" width="100%" height="{HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>')


def _line(kind: str, start: str, end: str) -> str:
    """Return a line along the middle of the row."""
    return f'<line class="{kind}" x1="{start}" x2="{end}" y1="{MIDDLE}" y2="{MIDDLE}"/>'


def _drawable(value: float | None) -> TypeGuard[float]:
    """Tell whether a value can be placed: a number, and none so large that differences of it overflow."""
    return value is not None and abs(value) <= LARGEST


def scale_of(values: Sequence[float | None]) -> tuple[float, float]:
    """Return the ends of a scale that all finite values lie within, a little inside."""
    known = [value for value in values if _drawable(value)]
    if not known:
        return 0.0, 1.0
    room = 0.06 * (max(known) - min(known) or 1.0)
    return min(known) - room, max(known) + room


def wilson(share: float, items: int, z: float = 1.96) -> tuple[float, float] | None:
    """Return the 95 % score interval of a share; None where nothing was asked or the share is no number.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22:209.
    """
    if items < 1 or not math.isfinite(share):
        return None
    centre = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    return max(0.0, centre - half), min(1.0, centre + half)
