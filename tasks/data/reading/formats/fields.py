"""Fields of a raw row as the types they must have; what is wrong is said without the row's own text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.data.problems import BadRowError
from tasks.data.reading.reasoning import fold


@dataclass(slots=True)
class Call:
    """A call an assistant makes, as far as its result is told by it."""

    id: str | None
    name: str


@dataclass(slots=True)
class Said:
    """One turn, whatever container it came in.

    Args:
        role: system, user, assistant or tool.
        content: its text; reasoning and calls are folded in.
        taught: whether an answer may be learnt; marks say no.
        calls: structured calls of an assistant, in order.
        result_of: id of the call a tool's turn answers.
        result_name: name of the function a tool's turn answers.
        is_call: whether the turn is nothing but calls, and belongs to the assistant's words before it.
    """

    role: str
    content: str
    taught: bool = True
    calls: tuple[Call, ...] = ()
    result_of: str | None = None
    result_name: str | None = None
    is_call: bool = False


@dataclass(slots=True)
class Draft:
    """What a format's reader makes of a row; the checks that all formats share mend it in place.

    Args:
        format: its name.
        said: in the row's order; leading system turns not joined yet.
        tools: JSON text of the tools on offer.
        rejected: the answer that a preference row refuses.
        reasoning_language: as the row states it.
        notes: what was left out or changed, in words.
    """

    format: str
    said: list[Said]
    tools: str | None = None
    rejected: str | None = None
    reasoning_language: str | None = None
    notes: list[str] = field(default_factory=list)


def is_given(row: Mapping[str, Any], field: str) -> bool:
    """Tell whether a field says anything; in tables every row has all columns, most of them empty."""
    value = row.get(field)
    return value is not None and value != "" and value != []


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


def system(text: str) -> list[Said]:
    """Return a leading system turn, or none for an empty one."""
    return [said("system", text)] if text.strip() else []


def said(role: str, content: str, thinking: str = "", **facts: Any) -> Said:
    """Return one turn; an assistant's reasoning is folded into its content."""
    return Said(role, fold(content, thinking) if role == "assistant" else content.strip(), **facts)
