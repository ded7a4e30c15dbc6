"""Function calls and the tools on offer: one form, whatever format they came in.

A call stands in the assistant's content as `<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`, the form
the Qwen chat templates write; what the tool answered is a `tool` message. Arguments are an object whether the row had
them as one, as JSON text, or as JSON text inside JSON text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Call, is_given
from tasks.data.reading.formats.padding import is_padded, pruned_arguments, without_padding

TOOL_FIELDS: Final = ("tools", "functions")
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_CALLS = re.compile(r"<tool_call>\n.*?\n</tool_call>(?:\n<tool_call>\n.*?\n</tool_call>)*", re.DOTALL)
#: Names of the arguments: OpenAI's, Llama's, Anthropic's, and old ones.
_ARGUMENTS: Final = ("arguments", "parameters", "input", "args")
#: JSON text inside JSON text inside ...: more layers than any writer makes.
_MOST_LAYERS: Final = 4


def read_calls(value: Any, number: int, tools: str | None) -> tuple[str, tuple[Call, ...]]:
    """Return the assistant content of calls, and the calls as results are told by them.

    Args:
        value: one call or a list of them, as objects or JSON text: OpenAI's `tool_calls` or `function_call`, a
            ShareGPT `function_call` turn, Anthropic's `tool_use` parts.
        number: of the turn, from 1.
        tools: JSON text of the tools on offer.

    Raises:
        BadRowError: a call has no name, or its arguments are no JSON object.
    """
    calls = _unpacked(value, f"turn {number}: the call")
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not calls:
        raise BadRowError("malformed_tool_call", f"turn {number}: the call is no object")
    blocks, found = [], []
    for packed in calls:
        call = _unpacked(packed, f"turn {number}: a call")
        function = call.get("function") or call if isinstance(call, dict) else None
        if isinstance(function, str):
            function = call
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise BadRowError("malformed_tool_call", f"turn {number}: a call has no name")
        name = function["name"]
        blocks.append(block(as_json({"name": name, "arguments": _arguments(function, name, number, tools)})))
        id_ = call.get("id") or call.get("tool_call_id")
        found.append(Call(id_ if isinstance(id_, str) else None, name))
    return "\n".join(blocks), tuple(found)


def call_text(value: Any, number: int) -> str:
    """Return the assistant content of calls."""
    return read_calls(value, number, None)[0]


def _arguments(function: Mapping[str, Any], name: str, number: int, tools: str | None) -> dict[str, Any]:
    """Return the arguments of a call as an object."""
    value = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), None)
    as_text = isinstance(value, str)
    if isinstance(value, str):
        value = _unpacked(value, f"turn {number}: the arguments") if value.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRowError("malformed_tool_call", f"turn {number}: the arguments are a {type(value).__name__}")
    return pruned_arguments(value, name, tools, as_text=as_text)


def one_form(content: str, number: int, tools: str | None) -> str:
    """Return an assistant's text in which calls written as text have their arguments as an object.

    Text that only looks like a call stays as it is.
    """

    def written(found: re.Match[str]) -> str:
        try:
            call = json.loads(found[1])
            usable = isinstance(call, dict) and isinstance(call.get("arguments"), str)
            return read_calls(call, number, tools)[0] if usable else found[0]
        except (ValueError, RecursionError, BadRowError):
            return found[0]

    return _CALL.sub(written, content)


def written_calls(content: str) -> tuple[Call, ...]:
    """Return the calls that stand in an assistant's text, as results are told by them."""
    found = []
    for text in _CALL.findall(content):
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            found.append(Call(None, call["name"]))
    return tuple(found)


def tools_of(row: Mapping[str, Any]) -> str | None:
    """Return the tools a row offers, as JSON text; None for none.

    JSON text is kept to the letter where no null in it is padding.

    Raises:
        BadRowError: they are no list of objects.
    """
    name = next((field for field in TOOL_FIELDS if is_given(row, field)), None)
    if name is None:
        return None
    given = row[name]
    tools = _unpacked(given, f"`{name}`") if not isinstance(given, str) or given.strip() else []
    if not isinstance(tools, list):
        raise BadRowError("malformed_tool_call", f"`{name}` is no list")
    offered = [_unpacked(tool, f"a tool of `{name}`") for tool in tools]
    if not all(isinstance(tool, dict) for tool in offered):
        raise BadRowError("malformed_tool_call", f"a tool of `{name}` is no object")
    if not offered:
        return None
    if is_padded(offered):
        return as_json([without_padding(tool) for tool in offered])
    is_plain = isinstance(given, str) and offered == tools and given.lstrip().startswith("[")
    return given.strip() if is_plain else as_json(offered)


def calls_in(content: str) -> list[str] | None:
    """Return the JSON texts of a content that is nothing but calls, None where it is not."""
    return _CALL.findall(content) if _CALLS.fullmatch(content) else None


def block(call: str) -> str:
    """Return a call in the form it has in a content."""
    return f"<tool_call>\n{call}\n</tool_call>"


def as_json(value: Any) -> str:
    """Return JSON text; tables may hold types that JSON has not."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadRowError("wrong_type", "calls or tools of a type that JSON has not") from error


def _unpacked(value: Any, what: str) -> Any:
    """Return the value behind JSON text, and behind JSON text in it."""
    for _ in range(_MOST_LAYERS):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRowError("malformed_tool_call", f"{what} is no JSON") from error
    return value
