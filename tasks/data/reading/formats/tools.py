"""Function calls and the tools on offer: one form, whatever format they came in.

A call stands in the assistant's content as `<tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call>`, the form the
Qwen chat templates write; what the tool answered is a `tool` message.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import is_given

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_CALLS = re.compile(r"<tool_call>\n.*?\n</tool_call>(?:\n<tool_call>\n.*?\n</tool_call>)*", re.DOTALL)


def call_text(text: str, number: int) -> str:
    """Return the assistant content of a ShareGPT `function_call` turn: one call, or a list of them, as JSON text."""
    calls = _loaded(text, f"turn {number}: the call")
    if isinstance(calls, dict):
        _check_call(calls, number)
        return block(text.strip())
    if not isinstance(calls, list) or not calls:
        raise BadRowError("malformed_tool_call", f"turn {number}: the call is no object")
    for call in calls:
        _check_call(call, number)
    return "\n".join(block(as_json(call)) for call in calls)


def openai_calls(calls: Any, number: int) -> str:
    """Return the assistant content of OpenAI `tool_calls`; their arguments are JSON text or an object."""
    if not isinstance(calls, list):
        raise BadRowError("malformed_tool_call", f"turn {number}: `tool_calls` is no list")
    blocks = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        _check_call(function, number)
        arguments = function.get("arguments")  # type: ignore[union-attr]
        if isinstance(arguments, str):
            arguments = _loaded(arguments, f"turn {number}: the arguments") if arguments.strip() else {}
        blocks.append(block(as_json({"name": function["name"], "arguments": arguments})))  # type: ignore[index]
    return "\n".join(blocks)


def tools_of(row: Mapping[str, Any]) -> str | None:
    """Return the tools a row offers, as JSON text; None for none."""
    if not is_given(row, "tools"):
        return None
    tools = row["tools"]
    text = tools.strip() if isinstance(tools, str) else as_json(tools)
    offered = _loaded(text, "`tools`") if text else []
    if not isinstance(offered, list):
        raise BadRowError("malformed_tool_call", "`tools` is no list")
    if not all(isinstance(tool, dict) for tool in offered):
        raise BadRowError("malformed_tool_call", "a tool of `tools` is no object")
    return text if offered else None


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


def _check_call(call: Any, number: int) -> None:
    """Refuse what is no call of a named function."""
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise BadRowError("malformed_tool_call", f"turn {number}: a call has no name")


def _loaded(text: str, what: str) -> Any:
    """Return the value of JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRowError("malformed_tool_call", f"{what} is no JSON") from error
