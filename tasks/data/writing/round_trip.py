"""What a row loses on its way out: it is read again as raw data, and every field that comes back otherwise is named."""

from collections.abc import Iterator
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats import parse

#: Of prepared rows; no format holds it, and whoever reads the export again gives its rows another.
SOURCE: Final = "source"


def fields_lost(row: dict[str, Any], written: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of a prepared row that its exported form does not bring back.

    Args:
        row: as prepared.
        written: the row in a format.
    """
    yield SOURCE
    try:
        back = parse(written)
    except BadRowError as problem:
        yield f"all of it (read again it is refused: {problem.reason})"
        return
    pairs = {
        "messages": (list(back.messages), row["messages"]),
        "tools": (back.tools, row.get("tools")),
        "rejected": (back.rejected, row.get("rejected")),
        "untaught": (list(back.untaught), list(row.get("untaught") or ())),
        "concept": (back.concept, row.get("concept")),
        "language": (back.language, row["language"]),
    }
    yield from (name for name, (found, given) in pairs.items() if found != given)
