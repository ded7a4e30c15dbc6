"""Items of the Responses API's `input`: messages, calls and their results, thoughts; and the chat vLLM makes of them.

What the endpoint gave out comes back: the items of an answer stand in the next turn's input.
"""

from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Schema
from tasks.serving.api.messages import LONGEST_ID, MOST_CALLS, read_arguments
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.api.tools import NAME, NAME_SCHEMA

INPUT_WORDS = (
    "text, or a list of messages (system, developer, user, assistant) of text, function_call, function_call_output, "
    "and an answer's thoughts"
)
ROLES = ("system", "developer", "user", "assistant")
_PARTS = {"user": "input_text", "system": "input_text", "developer": "input_text", "assistant": "output_text"}
#: Beside what says something; none of it reaches the model.
_ADDED = frozenset({"id", "status", "type", "phase", "namespace", "caller", "created_by"})
_FIELDS = {
    "message": frozenset({"role", "content"}),
    "function_call": frozenset({"call_id", "name", "arguments", "parsed_arguments"}),
    "function_call_output": frozenset({"call_id", "output"}),
    "reasoning": frozenset({"content", "summary", "encrypted_content"}),
}  # fmt: skip


def read_input(given: Any, where: str, caps: Caps) -> str | list[dict[str, Any]]:
    """Return what is asked: text, or items as vLLM takes them.

    Raises:
        Refusal: 400, naming the item at fault.
    """
    if isinstance(given, str) and given:
        return given
    if not isinstance(given, list) or not given:
        raise bad(f"{where} must be {INPUT_WORDS}", where)
    found = [_item(item, f"{where}[{place}]") for place, item in enumerate(given)]
    _require_calls(found, where)
    if not (said := _with_thoughts(found)):
        raise bad(f"{where} must hold a message", where)
    return said


def as_chat(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a payload of the Responses API as the chat that vLLM makes of it.

    Source: vllm/entrypoints/openai/responses/utils.py, construct_input_messages (0.32).
    """
    asked, messages = payload["input"], []
    if instructions := payload.get("instructions"):
        messages.append({"role": "system", "content": instructions})
    for item in [{"type": "message", "role": "user", "content": asked}] if isinstance(asked, str) else asked:
        _add_to_chat(item, messages)
    chat = payload | {"messages": messages}
    if tools := payload.get("tools"):
        flat = [{name: value for name, value in tool.items() if name != "type"} for tool in tools]
        chat["tools"] = [{"type": "function", "function": function} for function in flat]
    return chat


def input_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `input`."""
    part = {"type": "object", "required": ["type", "text"],
            "properties": {"type": {"enum": ["input_text", "output_text"]}, "text": {"type": "string"}}}  # fmt: skip
    content = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": part}]}
    call_id = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
    message = {"type": "object", "required": ["role", "content"], "properties": {
        "type": {"const": "message"}, "role": {"enum": list(ROLES)}, "content": content,
    }}  # fmt: skip
    call = {"type": "object", "required": ["type", "call_id", "name", "arguments"], "properties": {
        "type": {"const": "function_call"}, "call_id": call_id, "name": NAME_SCHEMA, "arguments": {"type": "string"},
    }}  # fmt: skip
    output = {"type": "object", "required": ["type", "call_id", "output"], "properties": {
        "type": {"const": "function_call_output"}, "call_id": call_id, "output": content,
    }}  # fmt: skip
    thought = {"type": "object", "required": ["type"], "properties": {"type": {"const": "reasoning"}}}
    items = {"anyOf": [message, call, output, thought]}
    return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": items}]}


def _item(item: Any, where: str) -> dict[str, Any]:
    """Return one item."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise unsupported(f"{where} must be of type {known}: nothing else is run, fetched or kept here", where)
    if unknown := sorted(name for name in set(item) - _ADDED - _FIELDS[kind] if item[name] is not None):
        raise unsupported(f"{where} has fields not supported here: {', '.join(unknown)}", where)
    readers = {"message": _message, "function_call": _call, "function_call_output": _output, "reasoning": _thought}
    return readers[kind](item, where)


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a message of text."""
    role = item.get("role")
    if role not in ROLES:
        raise bad(f"{where}.role must be one of {', '.join(ROLES)}", f"{where}.role")
    text = _text(item.get("content"), _PARTS[role], f"{where}.content")
    return {"type": "message", "role": "system" if role == "developer" else role, "content": text}


def _call(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a call the model made."""
    name = item.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise bad(f"{where}.name must be 1 to 64 letters, digits, _ or -", f"{where}.name")
    arguments = read_arguments(item.get("arguments"), f"{where}.arguments")
    return {"type": "function_call", "call_id": _call_id(item, where), "name": name, "arguments": arguments}


def _output(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the result of a call."""
    output = item.get("output")
    text = output if isinstance(output, str) else _text(output, "input_text", f"{where}.output")
    return {"type": "function_call_output", "call_id": _call_id(item, where), "output": text}


def _thought(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a thought; one without text says nothing."""
    parts = item.get("content") or item.get("summary") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str)
                                              for part in parts):  # fmt: skip
        raise bad(f"{where}.content must be a list of reasoning_text", f"{where}.content")
    text = "\n".join(part["text"] for part in parts)
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "id": "rs", "summary": [], "content": content if text else []}


def _call_id(item: dict[str, Any], where: str) -> str:
    """Return the id that joins a call and its result."""
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= LONGEST_ID:
        raise bad(f"{where}.call_id must be text of 1 to {LONGEST_ID} characters", f"{where}.call_id")
    return call_id


def _require_calls(items: list[dict[str, Any]], where: str) -> None:
    """Refuse too many calls, and a result whose call is not in the input: nothing is kept of earlier turns."""
    calls: set[str] = set()
    for place, item in enumerate(items):
        if item["type"] == "function_call":
            calls.add(item["call_id"])
        elif item["type"] == "function_call_output" and item["call_id"] not in calls:
            raise bad(f"{where}[{place}].call_id belongs to no function_call before it: send that too, nothing is kept",
                      f"{where}[{place}].call_id")  # fmt: skip
    if len(calls) > MOST_CALLS:
        raise bad(f"{where} has {len(calls)} calls, the most here is {MOST_CALLS}", where, "over_the_cap")


def _with_thoughts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return items without thoughts that nothing of the assistant's follows: vLLM would make an empty turn of them."""
    found: list[dict[str, Any]] = []
    for item, following in zip(items, [*items[1:], None], strict=True):
        belongs = following is not None and _is_assistants(following)
        if item["type"] != "reasoning" or (item["content"] and belongs):
            found.append(item)
    return found


def _is_assistants(item: dict[str, Any]) -> bool:
    """Tell whether the assistant said an item."""
    return item["type"] == "function_call" or item.get("role") == "assistant"


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


def _add_to_chat(item: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Add an item to a chat: thought, text and calls of one turn are one message."""
    if item["type"] == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        return
    if not _is_assistants(item) and item["type"] != "reasoning":
        messages.append({"role": item["role"], "content": item["content"]})
        return
    if item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        said: dict[str, Any] = {"tool_calls": [{"id": item["call_id"], "type": "function", "function": function}]}
    else:
        thought = item["type"] == "reasoning"
        said = {"reasoning": item["content"][0]["text"]} if thought else {"content": item["content"]}
    last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
    if last is not None and "tool_calls" in said:
        last["tool_calls"] = [*last.get("tool_calls", []), *said["tool_calls"]]
    elif last is not None and not said.keys() & last.keys():
        last.update(said)
    else:
        messages.append({"role": "assistant", **said})
