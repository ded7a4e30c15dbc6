"""Function calls and the tools on offer: one form, whatever format they came in.

A call stands in the assistant's content as `<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`, the form
the Qwen chat templates write; what the tool answered is a `tool` message. Arguments are an object whether the row had
them as one, as JSON text, or as JSON text inside JSON text.
"""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Call, is_given
from tasks.data.reading.formats.padding import is_padded, pruned_arguments, without_padding

TOOL_FIELDS: Final = ("tools", "functions")
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
#: A call at the start of a line, however it is written.
_LOOSE_CALL = re.compile(r"(?<![^\n>])<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_LONGEST_LITERAL: Final = 100_000
_CALLS = re.compile(r"<tool_call>\n.*?\n</tool_call>(?:\n<tool_call>\n.*?\n</tool_call>)*", re.DOTALL)
#: Names of the arguments: OpenAI's, Llama's, Anthropic's, and old ones.
_ARGUMENTS: Final = ("arguments", "parameters", "input", "args")
#: Names of the id of the call that a result answers.
CALL_IDS: Final = ("tool_call_id", "call_id", "tool_use_id")
_RESPONSE = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_RESPONSES = re.compile(r"(?:<tool_response>(?:(?!</?tool_response>).)*</tool_response>\s*)+", re.DOTALL)
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


def is_nothing(value: Any) -> bool:
    """Tell whether a field of calls or tools holds none, however a table or a writer says so."""
    if isinstance(value, str):
        return value.strip() in ("", "[]", "{}", "null", "None", "[null]")
    if isinstance(value, Mapping):
        return not any(inner is not None for inner in value.values())
    return value is None or (isinstance(value, list) and all(inner is None for inner in value))


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
    """Return an assistant's text in which calls written as text have one form: on lines of their own, arguments JSON.

    A call may be written without line ends, with its arguments as text, or as Python writes it (Hermes' rows). Text
    that only looks like a call stays as it is, and so does a call that has the form.
    """

    def written(found: re.Match[str]) -> str:
        call = _written_call(found[1])
        if call is None or (isinstance(call["arguments"], dict) and _is_in_form(found[0])):
            return found[0]
        try:
            return read_calls(call, number, tools)[0]
        except BadRowError:
            return found[0]

    return _LOOSE_CALL.sub(written, content).replace("</tool_call><tool_call>", "</tool_call>\n<tool_call>")


def _written_call(text: str) -> dict[str, Any] | None:
    """Return the call that a text spells, as JSON or as Python, None where it is none."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        call = _python_literal(text)
    arguments = call.get("arguments") if isinstance(call, dict) else None
    whole = isinstance(arguments, dict) and set(call) == {"name", "arguments"}
    return call if isinstance(arguments, str) or whole else None


def _python_literal(text: str) -> Any:
    """Return the value of a Python literal, None of what is none or too long to be a call."""
    if not text.startswith("{'") or len(text) > _LONGEST_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _is_in_form(block: str) -> bool:
    """Tell whether a call stands on lines of its own as JSON."""
    found = _CALL.fullmatch(block)
    return found is not None and found[1].startswith('{"')


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
    if is_nothing(given):
        return None
    tools = _unpacked(given, f"`{name}`")
    if not isinstance(tools, list):
        raise BadRowError("malformed_tool_call", f"`{name}` is no list")
    offered = [_unpacked(tool, f"a tool of `{name}`") for tool in tools if tool is not None]
    if not all(isinstance(tool, dict) for tool in offered):
        raise BadRowError("malformed_tool_call", f"a tool of `{name}` is no object")
    if not offered:
        return None
    if is_padded(offered):
        return as_json([without_padding(tool) for tool in offered])
    is_plain = isinstance(given, str) and offered == tools and given.lstrip().startswith("[")
    return given.strip() if is_plain else as_json(offered)


def results_in(content: Any) -> Any:
    """Return what a tool answered, as a content that parts are read from: several results are parts with their ids.

    Results may be merged in one turn (a list of objects with ids, Hermes' `<tool_response>` blocks: templates that have
    these tags write them themselves); an object or a list that is no part of a content is a result as JSON.
    """
    if content is None:
        return None
    if isinstance(content, str):
        wrapped = _RESPONSES.fullmatch(content.strip())
        texts = _RESPONSE.findall(content) if wrapped else [content]
        return texts[0].strip() if len(texts) == 1 else [_result(None, text.strip()) for text in texts]
    items = content if isinstance(content, list) else [content]
    if not all(isinstance(item, Mapping) for item in items):
        return as_json(content)
    if items and all("content" in item and _id_of(item) for item in items):
        return [_result(_id_of(item), item["content"]) for item in items]
    are_parts = all(isinstance(item.get("type"), str) or set(item) <= {"text"} for item in items)
    return content if are_parts else as_json(content)


def _result(id_: str | None, content: Any) -> dict[str, Any]:
    """Return a result as a part."""
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def _id_of(result: Mapping[str, Any]) -> str | None:
    """Return the id of the call that a result of a list answers."""
    found = next((result[name] for name in CALL_IDS if result.get(name)), None)
    return found if isinstance(found, str) else None


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
