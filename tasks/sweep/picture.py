"""The trials' differences with their intervals as inline SVG, drawn by arithmetic: nothing is fetched."""

from typing import Any

from markupsafe import Markup

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 420, 22, 62, 20, 12, 48
#: A number below the axis needs so much room.
TICK = 44


def picture(result: dict[str, Any]) -> Markup:
    """Return one line a trial (on the selection half), and below them the winner on the held-out half."""
    bars = [(f"trial {row['trial']}", row, row["trial"] == result["winner"]) for row in result["trials"]]
    if result["heldout"]:
        bars.append(("held out", result["heldout"], True))
    bars = [bar for bar in bars if bar[1]["difference"] is not None]
    if not bars:
        return Markup("")
    ends = [0.0, *(value for _, row, _ in bars for value in (row["difference"], *row["interval"]) if value is not None)]
    low, high = min(ends), max(ends)
    spread = (high - low) or 1.0
    low, high = low - spread * 0.05, high + spread * 0.05

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    height = TOP + ROW * len(bars) + BOTTOM
    drawn = "".join(_bar(label, row, won, TOP + ROW * (at + 0.5), x) for at, (label, row, won) in enumerate(bars))
    bottom, middle = height - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    marks = [value for value in dict.fromkeys((0.0, min(ends), max(ends))) if not value or abs(x(value) - x(0)) > TICK]
    ticks = "".join(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:+.3g}</text>'
                    for value in marks)  # fmt: skip
    better = "left" if result["lower_is_better"] else "right"
    ticks += (f'<text x="{middle:.0f}" y="{bottom + 36}" text-anchor="middle">'
              f"difference from the settings as they are; {better} is better</text>")  # fmt: skip
    # Only numbers and our own words are put in; there is nothing to escape.
    label = "Difference of each trial from the present settings"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{bottom}"/>{drawn}{ticks}</svg>'
    )


def _bar(label: str, row: dict[str, Any], won: bool, y: float, x: Any) -> str:
    """Return a trial's interval, its dot and its name."""
    first, last = (row["difference"] if end is None else end for end in row["interval"])
    kind = "won" if won else "other"
    return (f'<text class="{kind}" x="4" y="{y + 4:.1f}">{label}</text>'
            f'<line class="{kind}" x1="{x(first):.1f}" x2="{x(last):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="{kind}" cx="{x(row["difference"]):.1f}" cy="{y:.1f}" r="4"/>')  # fmt: skip
