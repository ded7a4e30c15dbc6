"""Pictures of the data as inline SVG, drawn by arithmetic: bars beside names, and histograms of lengths."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

BAR_WIDTH, BAR_HEIGHT = 200, 10
#: A bar that stands for one row in a million can still be seen.
LEAST_WIDTH = 1.0
WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 10, 40
LABEL_EVERY = 3
#: Distances between grid lines in per cent; the first that needs no more than five lines is taken.
GRID_STEPS = (1, 2, 5, 10, 20, 25)
MOST_LINES = 5


def bar(end: float, total: float, start: float = 0, kind: str = "plain") -> Markup:
    """Return a bar from `start` to `end` on a scale from 0 to `total`; text beside it says the number.

    Args:
        end: where the bar ends.
        total: what the full width stands for.
        start: where it starts.
        kind: class of the bar, from our own style sheet.
    """
    scale = BAR_WIDTH / (total or 1)
    width = max((end - start) * scale, LEAST_WIDTH) if end > start else 0
    x = min(start * scale, BAR_WIDTH - width)
    return Markup(
        '<svg class="bar" viewBox="0 0 {w} {h}" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="{w}" height="{h}"/>'
        '<rect class="{kind}" x="{x}" width="{width}" height="{h}"/></svg>'
    ).format(w=BAR_WIDTH, h=BAR_HEIGHT, kind=kind, x=f"{x:.2f}", width=f"{width:.2f}")


def length_charts(lengths: dict[str, Any], limit_tokens: int) -> list[dict[str, Any]]:
    """Return a histogram for each unit and language that has rows.

    Args:
        lengths: {"characters": {"edges", "zh", "en"}, "tokens": ...}.
        limit_tokens: longest row that is trained on; a line in the pictures of tokens.
    """
    units = {"characters": ("characters", "字符"), "tokens": ("tokens", "词元")}
    languages = {"zh": ("Chinese", "中文"), "en": ("English", "英文")}
    return [
        {
            "unit": units[unit],
            "language": words,
            "rows": sum(found[language]),
            "middle": middle(found["edges"], found[language]),
            "picture": histogram_chart(
                found["edges"], found[language], limit_tokens if unit == "tokens" else None,
                f"{words[0]}: rows by {units[unit][0]}",
            ),
        }
        for unit, found in lengths.items()
        for language, words in languages.items()
        if sum(found[language])
    ]  # fmt: skip


def middle(edges: Sequence[int], counts: Sequence[int]) -> str:
    """Return the bin that the median row falls into, in words."""
    half = sum(counts) / 2
    place = next(place for place, seen in enumerate(accumulate(counts)) if seen >= half)
    return f"{edges[place]:,}–{edges[place + 1] - 1:,}" if place + 1 < len(edges) else f"{edges[place]:,} or more"


def histogram_chart(edges: Sequence[int], counts: Sequence[int], limit: int | None, label: str) -> Markup:
    """Return a histogram with one column a bin, the share of rows upwards.

    Args:
        edges: first value of each bin; the last bin is open.
        counts: rows in each bin.
        limit: value a dashed line stands at, where it lies within the bins.
        label: what the picture shows, for people who cannot see it.
    """
    total = max(sum(counts), 1)
    step = (WIDTH - LEFT - RIGHT) / max(len(counts), 1)
    bottom = HEIGHT - BOTTOM
    ticks = _ticks(100 * max(counts, default=0) / total)
    scale = (bottom - TOP) / (total * ticks[-1] / 100)
    columns = "".join(
        f'<rect class="column" x="{LEFT + place * step + 1:.1f}" y="{bottom - count * scale:.1f}" '
        f'width="{step - 2:.1f}" height="{count * scale:.1f}"/>'
        for place, count in enumerate(counts) if count
    )  # fmt: skip
    # Only numbers and our own words are put in; the label is escaped.
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>').format(
        WIDTH, HEIGHT, label, Markup(_grid(ticks, bottom)), Markup(columns), Markup(_axis(edges, step, bottom)),
        Markup(_limit_line(edges, limit, step, bottom)),
    )  # fmt: skip


def _ticks(largest_percent: float) -> list[int]:
    """Return round percentages from 0 to at least the largest."""
    step = next(step for step in GRID_STEPS if step * MOST_LINES >= largest_percent)
    return [step * number for number in range(max(1, math.ceil(largest_percent / step)) + 1)]


def _grid(ticks: Sequence[int], bottom: float) -> str:
    """Return horizontal lines with the share of rows at each."""
    lines = []
    for tick in ticks:
        y = bottom - (bottom - TOP) * tick / ticks[-1]
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}%</text>'
        )
    return "".join(lines)


def _axis(edges: Sequence[int], step: float, bottom: float) -> str:
    """Return the first value of every third bin."""
    return "".join(
        f'<text x="{LEFT + place * step:.1f}" y="{bottom + 15:.1f}" text-anchor="middle">{edge}</text>'
        for place, edge in enumerate(edges)
        if place % LABEL_EVERY == 0
    )


def _limit_line(edges: Sequence[int], limit: int | None, step: float, bottom: float) -> str:
    """Return a dashed line at the place of a value between the edges."""
    if limit is None or not edges[0] <= limit < edges[-1]:
        return ""
    place = max(number for number, edge in enumerate(edges) if edge <= limit)
    x = LEFT + step * (place + (limit - edges[place]) / (edges[place + 1] - edges[place]))
    return (
        f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text class="limit" x="{x:.1f}" y="{bottom + 32:.1f}" text-anchor="middle">{limit} = limit 上限</text>'
    )
