"""The Responses API as far as it is stateless text."""

from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Schema
from tasks.serving.api.options import EFFORTS
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.api.tools import format_schema, read_format, read_named_schema

INPUT_WORDS = "text, or a list of messages (system, developer, user, assistant) of text"
TEXT_WORDS = "format as in response_format"
REASONING_WORDS = f"effort: one of {', '.join(EFFORTS)}"
_ROLES = ("system", "developer", "user", "assistant")
_PARTS = {"user": "input_text", "system": "input_text", "developer": "input_text", "assistant": "output_text"}
#: Beside role and content; none of it reaches the model.
_ADDED = frozenset({"id", "status", "type", "phase"})


def read_input(given: Any, where: str, caps: Caps) -> str | list[dict[str, Any]]:
    """Return what is asked: text, or messages of text; an answer's items come back, its thoughts are left out."""
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, list) or not given:
        raise bad(f"{where} must be {INPUT_WORDS}", where)
    found = [_item(item, f"{where}[{place}]") for place, item in enumerate(given)]
    if not (said := [item for item in found if item]):
        raise bad(f"{where} must hold a message", where)
    return said


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


def input_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `input`."""
    part = {"type": "object", "required": ["type", "text"],
            "properties": {"type": {"enum": ["input_text", "output_text"]}, "text": {"type": "string"}}}  # fmt: skip
    content = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": part}]}
    fields = {"type": {"const": "message"}, "role": {"enum": list(_ROLES)}, "content": content}
    message = {"type": "object", "required": ["role", "content"], "properties": fields}
    return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": message}]}


def text_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `text`."""
    form = {"type": "object", "properties": {"type": format_schema(caps)["properties"]["type"]}}
    return {"type": "object", "properties": {"format": form, "verbosity": {"enum": ["medium", None]}}}


def reasoning_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `reasoning`."""
    return {"type": "object", "properties": {"effort": {"enum": [*EFFORTS, None]}}}


def _item(item: Any, where: str) -> dict[str, Any] | None:
    """Return one message of text; None for a thought, which no template shows again."""
    if isinstance(item, dict) and item.get("type") == "reasoning":
        return None
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise unsupported(f"{where} must be a message of text", where)
    if unknown := sorted(name for name in set(item) - _ADDED - {"role", "content"} if item[name] is not None):
        raise unsupported(f"{where} has fields not supported here: {', '.join(unknown)}", where)
    role = item.get("role")
    if role not in _ROLES:
        raise bad(f"{where}.role must be one of {', '.join(_ROLES)}", f"{where}.role")
    text = _text(item.get("content"), _PARTS[role], f"{where}.content")
    return {"type": "message", "role": "system" if role == "developer" else role, "content": text}


def _text(content: Any, part_type: str, where: str) -> str:
    """Return a content's text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != part_type or not isinstance(part.get("text"), str):
            raise bad(f"{where} must be text, or a list of {part_type}", where)
        if surplus := [name for name in part if name not in ("type", "text") and part[name]]:
            raise unsupported(f"{where} has fields not supported here: {', '.join(sorted(surplus))}", where)
    if not parts:
        raise bad(f"{where} must be text, or a list of {part_type}", where)
    return "\n".join(part["text"] for part in parts)
