"""Charts as inline SVG, drawn by arithmetic: the same numbers give the same bytes, and nothing is fetched."""

import math
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 34
STRIP_WIDTH, STRIP_HEIGHT, STRIP_EDGE = 420, 30, 14


def loss_chart(losses: list[tuple[int, float]]) -> Markup:
    """Return the training loss over steps: every step thin, the mean of the last ten steps thick.

    Args:
        losses: (step, loss); losses that are not finite are left out.
    """
    return _curve(losses, "Training loss by step", smooth=True)


def rate_chart(rates: list[tuple[int, float]]) -> Markup:
    """Return the learning rate over steps.

    Args:
        rates: (step, learning rate); rates that are not finite are left out.
    """
    return _curve(rates, "Learning rate by step", smooth=False)


def _curve(points: list[tuple[int, float]], label: str, *, smooth: bool) -> Markup:
    """Return values over steps; "" where there is none. `label` is our own words."""
    curve = [(step, value) for step, value in points if math.isfinite(value)]
    if not curve:
        return Markup("")
    low, high, ticks = _scale([value for _, value in curve])
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    first, last = curve[0][0], max(curve[-1][0], curve[0][0] + 1)

    def place(step: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first)
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)
        return f"{x:.1f},{y:.1f}"

    grid = "".join(_grid_line(tick, low, high, decimals) for tick in ticks)
    raw = " ".join(place(step, value) for step, value in curve)
    lines = f'<polyline class="{"raw" if smooth else "smooth"}" points="{raw}"/>'
    if smooth:
        means = " ".join(place(step, mean) for step, mean in _trailing_means(curve))
        lines += f'<polyline class="smooth" points="{means}"/>'
    # Only numbers are put in; there is nothing to escape.
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{grid}{_step_axis(first, last)}{lines}</svg>"
    )


def _step_axis(first: int, last: int) -> str:
    """Return the first and the last step, and the axis's name."""
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (f'<text x="{LEFT}" y="{HEIGHT - 14}">{first}</text>'
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 14}" text-anchor="end">{last}</text>'
            f'<text x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">step 步</text>')  # fmt: skip


def _trailing_means(curve: list[tuple[int, float]], window: int = 10) -> list[tuple[int, float]]:
    """Return (step, mean of the last `window` losses)."""
    found = []
    for index, (step, _) in enumerate(curve):
        recent = [loss for _, loss in curve[max(0, index + 1 - window) : index + 1]]
        found.append((step, sum(recent) / len(recent)))
    return found


def _scale(values: list[float]) -> tuple[float, float, list[float]]:
    """Return low, high and round ticks that span the values."""
    spread = max(values) - min(values) or 1.0
    size = 10 ** math.floor(math.log10(spread / 3))
    step = next(size * factor for factor in (1, 2, 5, 10) if spread / (size * factor) <= 4)
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    count = max(1, round((high - low) / step))
    return low, low + count * step, [low + step * index for index in range(count + 1)]


def _grid_line(tick: float, low: float, high: float, decimals: int) -> str:
    """Return one horizontal line with its label."""
    y = TOP + (HEIGHT - TOP - BOTTOM) * (high - tick) / (high - low)
    return (f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.{decimals}f}</text>')  # fmt: skip


def interval_chart(rule: dict[str, Any]) -> Markup:
    """Return a rule's gain with its interval, and the line it has to be beyond; "" where nothing was measured.

    Right is better whatever the metric's direction; where the claim holds is shaded.
    """
    if rule["difference"] is None or None in rule["interval"]:
        return Markup("")
    sign = -1 if rule["lower_is_better"] else 1
    low, high = sorted(sign * end for end in rule["interval"])
    line, point = sign * rule["line"], sign * rule["difference"]
    ends = [low, high, line, point, *([0.0] if rule["expect"] != "floor" else [])]
    margin = 0.12 * (max(ends) - min(ends) or 1.0)
    start, stop = min(ends) - margin, max(ends) + margin

    def x(value: float) -> float:
        return STRIP_EDGE + (STRIP_WIDTH - 2 * STRIP_EDGE) * (value - start) / (stop - start)

    middle, height = STRIP_HEIGHT / 2, STRIP_HEIGHT
    zero = f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="4" y2="{height - 4}"/>'
    return Markup(
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} {height}" aria-hidden="true">'
        f'<rect class="good" x="{x(line):.1f}" y="2" width="{x(stop) - x(line):.1f}" height="{height - 4}"/>'
        f"{'' if rule['expect'] == 'floor' else zero}"
        f'<line class="line" x1="{x(line):.1f}" x2="{x(line):.1f}" y1="0" y2="{height}"/>'
        f'<line class="span" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="point" cx="{x(point):.1f}" cy="{middle}" r="4.5"/></svg>'
    )
