"""Messages of a chat: what the gateway gave out it takes back; text and calls only, nothing to fetch."""

import json
from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Schema
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.api.tools import NAME

ROLES = ("system", "developer", "user", "assistant", "tool")
MOST_CALLS = 64
LONGEST_ID = 256
CALLS_WORDS = f"at most {MOST_CALLS} calls: id, type function, function with name and arguments (a JSON object as text)"
#: Fields of an assistant's message alone.
_ASSISTANTS = ("tool_calls", "reasoning", "reasoning_content")
#: What clients add to a call they were given; none of it reaches the model.
_CALL, _CALL_ADDED = frozenset({"id", "type", "function"}), frozenset({"index"})
_FUNCTION, _FUNCTION_ADDED = frozenset({"name", "arguments"}), frozenset({"parsed_arguments"})


def read_content(content: Any, where: str, caps: Caps) -> Any:
    """Return a message's content: a string, or a list of text parts as the OpenAI client may send it."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if not parts or not all(_is_text_part(part) for part in parts):
        raise bad(f"{where} must be text, or a list of text parts", where)
    return [{"type": "text", "text": part["text"]} for part in parts]


def read_calls(calls: Any, where: str, caps: Caps) -> list[dict[str, Any]]:
    """Return the calls an assistant made, as it was given them."""
    if not isinstance(calls, list) or len(calls) > MOST_CALLS:
        raise bad(f"{where} must be a list of at most {MOST_CALLS} calls", where)
    return [_call(call, f"{where}[{place}]") for place, call in enumerate(calls)]


def read_arguments(arguments: Any, where: str) -> str:
    """Return a call's arguments: the server would fail on a text that is no JSON object."""
    try:
        value = json.loads(arguments or "{}") if isinstance(arguments, str) else None
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise bad(f"{where} must be a JSON object as text", where)
    return arguments or "{}"


def content_schema(caps: Caps) -> Schema:
    """Return the JSON schema of a message's content."""
    part = {"type": "object", "required": ["type", "text"], "additionalProperties": False,
            "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}  # fmt: skip
    return {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": part}]}


def calls_schema(caps: Caps) -> Schema:
    """Return the JSON schema of a message's calls."""
    function = {"type": "object", "required": ["name", "arguments"], "properties": {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"}, "arguments": {"type": "string"},
    }}  # fmt: skip
    call = {"type": "object", "required": ["id", "function"], "properties": {
        "id": {"type": "string", "maxLength": LONGEST_ID}, "type": {"const": "function"}, "function": function,
    }}  # fmt: skip
    return {"type": "array", "maxItems": MOST_CALLS, "items": call}


def require_order(message: dict[str, Any], where: str) -> None:
    """Refuse a message that lacks what its role needs, or has what only another role may have.

    An assistant's content may be missing where it made calls or had only a thought, as it is given out then.
    """
    role = message["role"]
    if role != "assistant":
        if surplus := next((name for name in _ASSISTANTS if name in message), None):
            raise bad(f"{where}.{surplus} belongs to an assistant's message", f"{where}.{surplus}")
        if "content" not in message:
            raise bad(f"{where}.content must be text", f"{where}.content")
    if (role == "tool") != ("tool_call_id" in message):
        raise bad(f"{where}.tool_call_id belongs to a message of the tool, and it needs one", f"{where}.tool_call_id")
    if role == "assistant" and not message.keys() & {"content", *_ASSISTANTS}:
        raise bad(f"{where} says nothing: it has no content and no tool_calls", f"{where}.content")


def _is_text_part(part: Any) -> bool:
    """Tell whether a part of a content is plain text; null and empty fields of an answer's part say nothing."""
    return (
        isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
        and not any(value for name, value in part.items() if name not in ("type", "text"))
    )


def _call(call: Any, where: str) -> dict[str, Any]:
    """Return one call."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise bad(f"{where} must be a call of a function", where)
    unknown = [name for name in call if name not in _CALL | _CALL_ADDED and call[name]]
    unknown += [name for name in function if name not in _FUNCTION | _FUNCTION_ADDED and function[name]]
    if unknown:
        raise unsupported(f"{where} has fields not supported here: {', '.join(sorted(unknown))}", where)
    if not isinstance(call.get("id"), str) or not 0 < len(call["id"]) <= LONGEST_ID:
        raise bad(f"{where}.id must be text of 1 to {LONGEST_ID} characters", f"{where}.id")
    if not isinstance(function.get("name"), str) or not NAME.fullmatch(function["name"]):
        raise bad(f"{where}.function.name must be 1 to 64 letters, digits, _ or -", f"{where}.function.name")
    arguments = read_arguments(function.get("arguments"), f"{where}.function.arguments")
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}
