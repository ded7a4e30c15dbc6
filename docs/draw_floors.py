"""Draw docs/floors.svg from the contract in pyproject.toml and from the imports as they are.

`make docs` runs it; tests/contract/test_floors.py fails where the picture is not what it would draw.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "floors.svg"
WIDTH, MARGIN, GAP, LINE, HEAD = 980, 16, 8, 16, 40
#: Width of a character of the running text, in pixels: a little more than browsers need.
CHARACTER = 6.6
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:12px;fill:#3a3f47}"
    ".room{fill:#f4f7fb;stroke:#8aa0bd}.name{font-size:15px;font-weight:600;fill:#12263f}.uses{fill:#5b6b82}"
)


def floors() -> list[list[str]]:
    """Return the rooms of each floor, the roof first, as the layers contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == ["tasks"])
    return [["flows"], *([f"tasks.{room.strip()}" for room in layer.split("|")] for layer in layers)]


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    source = (ROOT / room.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def uses(graph: grimp.ImportGraph, room: str, rooms: list[str]) -> str:
    """Return the rooms whose files a room imports, from the top down."""
    inside = {room} | graph.find_descendants(room)
    imported = {target for module in inside for target in graph.find_modules_directly_imported_by(module)}
    found = [other for other in rooms if other != room and any(f"{name}.".startswith(f"{other}.") for name in imported)]
    return "uses " + ", ".join(short(name) for name in found) if found else "uses nothing of ours"


def short(room: str) -> str:
    """Return a room's name as people say it."""
    return room.removeprefix("tasks.")


def draw() -> str:
    """Return the picture: a box a room, a row a floor; what a box uses stands in it and is always below it."""
    rows = floors()
    rooms = [room for row in rows for room in row]
    graph = grimp.build_graph("tasks", "flows", cache_dir=None)
    top, boxes = MARGIN, []
    for row in rows:
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        texts = [list(_lines(purpose(room), uses(graph, room, rooms), width)) for room in row]
        height = HEAD + LINE * max(len(lines) for lines in texts)
        for place, (room, lines) in enumerate(zip(row, texts, strict=True)):
            boxes += _box(MARGIN + place * (width + GAP), top, width, height, short(room), lines)
        top += height + GAP
    size = f'width="{WIDTH}" height="{top + MARGIN - GAP}" viewBox="0 0 {WIDTH} {top + MARGIN - GAP}"'
    title = "The floors of Tunegate: each room uses only rooms below it"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{title}">'
    return "\n".join(
        [head, f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>', *boxes, "</svg>\n"]
    )


def _lines(purpose_: str, uses_: str, width: float) -> Iterator[tuple[str, str]]:
    """Yield (class, text) of the lines below a room's name."""
    characters = int((width - 2 * GAP) / CHARACTER)
    yield from (("", line) for line in textwrap.wrap(purpose_, characters))
    yield from (("uses", line) for line in textwrap.wrap(uses_, characters))


def _box(left: float, top: float, width: float, height: float, name: str, lines: list[tuple[str, str]]) -> list[str]:
    """Return one room as SVG elements."""
    found = [f'<rect class="room" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6"/>']
    found.append(f'<text class="name" x="{left + GAP:.0f}" y="{top + 22:.0f}">{escape(name)}</text>')
    for number, (kind, line) in enumerate(lines):
        place = f'x="{left + GAP:.0f}" y="{top + HEAD + LINE * number:.0f}"'
        found.append(f'<text class="{kind}" {place}>{escape(line)}</text>')
    return found


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
