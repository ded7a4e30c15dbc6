"""Fields that the Responses API has in a shape of its own: the answer's form, the effort."""

from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Schema
from tasks.serving.api.options import EFFORTS
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.api.tools import format_schema, read_format, read_named_schema

TEXT_WORDS = "format as in response_format"
REASONING_WORDS = f"effort: one of {', '.join(EFFORTS)}"


def read_text(given: Any, where: str, caps: Caps) -> dict[str, Any] | None:
    """Return the form an answer is held to, as the Responses API has it: the schema beside its type."""
    if not isinstance(given, dict) or set(given) - {"format", "verbosity"}:
        raise unsupported(f"{where} may hold format", where)
    if given.get("verbosity") not in (None, "medium"):
        raise unsupported(f"{where}.verbosity is not supported here: say it in the instructions", f"{where}.verbosity")
    form = given.get("format")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        plain = None if form is None else read_format(form, f"{where}.format", caps)
        return {"format": plain} if plain else None
    flat = {name: value for name, value in form.items() if name != "type"}
    return {"format": {"type": "json_schema", **read_named_schema(flat, f"{where}.format", caps)}}


def read_reasoning(given: Any, where: str, caps: Caps) -> str | None:
    """Return the effort asked for, None where that is not said."""
    if not isinstance(given, dict) or any(given[name] is not None for name in set(given) - {"effort"}):
        raise unsupported(f"{where} may hold effort and nothing else", where)
    effort = given.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise bad(f"{where}.effort must be one of {', '.join(EFFORTS)}", f"{where}.effort")
    return effort


def text_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `text`."""
    form = {"type": "object", "properties": {"type": format_schema(caps)["properties"]["type"]}}
    return {"type": "object", "properties": {"format": form, "verbosity": {"enum": ["medium", None]}}}


def reasoning_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `reasoning`."""
    return {"type": "object", "properties": {"effort": {"enum": [*EFFORTS, None]}}}
