"""Fields of a raw row as the types they must have; what is wrong is said without the row's own text."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.chat.conversation import Message
from tasks.data.problems import BadRowError
from tasks.data.reading.reasoning import fold


@dataclass(slots=True)
class Draft:
    """What a format's reader makes of a row; the checks that all formats share mend it in place.

    Args:
        format: its name.
        messages: in the row's order; leading system turns not joined yet.
        tools: JSON text of the tools on offer.
        rejected: the answer that a preference row refuses.
        reasoning_language: as the row states it.
    """

    format: str
    messages: list[Message]
    tools: str | None = None
    rejected: str | None = None
    reasoning_language: str | None = None


Reader = Callable[[dict[str, Any]], Draft]


def is_given(row: Mapping[str, Any], field: str) -> bool:
    """Tell whether a field says anything; in tables every row has all columns, most of them empty."""
    return row.get(field) not in (None, "", [])


def text_of(fields: Mapping[str, Any], name: str, *, optional: bool = False, where: str = "") -> str:
    """Return a text field; an optional one may be absent or null."""
    value = fields.get(name)
    if type(value) is str:
        return value
    if value is None and optional:
        return ""
    if name not in fields:
        raise BadRowError("missing_field", f"{where}no `{name}`")
    raise BadRowError("wrong_type", f"{where}`{name}` is a {type(value).__name__}, not text")


def list_of(row: Mapping[str, Any], field: str) -> list[Any]:
    """Return a list field; a table may hold it as JSON text, and nothing stands for an empty one."""
    value = row.get(field)
    if isinstance(value, str) and value.strip():
        value = from_json(value, field)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise BadRowError("wrong_type", f"`{field}` is no list")
    return value


def from_json(text: str, field: str) -> Any:
    """Return the value that a field holds as JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRowError("wrong_type", f"`{field}` is text that is no JSON") from error


def turns_of(row: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Return a list of turns, each an object."""
    if field in row and row[field] is None:
        raise BadRowError("wrong_type", f"`{field}` is no list")
    turns = list_of(row, field)
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise BadRowError("wrong_type", f"turn {number} of `{field}` is no object")
    return turns


def role_of(turn: Mapping[str, Any], field: str, known: Mapping[str, str], number: int) -> str:
    """Return the chat role of a turn."""
    role = turn.get(field)
    if type(role) is str and role in known:
        return known[role]
    if role is None:
        raise BadRowError("missing_field", f"turn {number} has no `{field}`")
    if not isinstance(role, str):
        raise BadRowError("wrong_type", f"turn {number}: `{field}` is a {type(role).__name__}, not text")
    raise BadRowError("unknown_role", f"turn {number} has none of the roles {', '.join(sorted(known))}")


def system(text: str) -> list[Message]:
    """Return a leading system message, or none for an empty one."""
    return [turn("system", text)] if text.strip() else []


def turn(role: str, content: str, thinking: str = "") -> Message:
    """Return one message; an assistant's reasoning is folded into its content."""
    return {"role": role, "content": fold(content, thinking) if role == "assistant" else content.strip()}
