"""What an answer says, on every route: its usage, where its stream ends, and what goes into the record."""

import json
import re
from collections.abc import Sequence
from typing import Any

DATA = b"data: "
DONE = b"data: [DONE]"
#: Both spellings of the chunk that holds nothing but the usage.
NO_CHOICES = (b'"choices":[]', b'"choices": []')
#: How vLLM begins an error in the middle of a stream.
_ERRORS = (b'data: {"error":', b'data: {"error" :')
#: Events that end a stream of the Responses API.
_ENDS = (b"event: response.completed", b"event: response.incomplete", b"event: response.failed")
#: Texts that a response's stream brings in pieces, by what they are recorded as.
_TEXT_DELTAS = {"response.output_text.delta": "content", "response.reasoning_text.delta": "reasoning"}

#: How vLLM (0.32) ends what it had under way when it is told to stop: like a whole answer, but for the reason.
_BROKEN_OFF = re.compile(rb'"finish_reason": ?"(abort|error)"|"status": ?"cancelled"')


def broken_off(piece: bytes) -> bool:
    """Tell whether a whole answer, or an event of a stream, says that the server ended it before its end.

    What an answer says itself cannot read like that: a quotation mark in it is escaped.
    """
    return _BROKEN_OFF.search(piece) is not None


def ends(event: bytes) -> bool:
    """Tell whether an event is the last of its stream."""
    return event.startswith((DONE, *_ENDS))


def error_status(event: bytes) -> int | None:
    """Return the status of an error that came as an event of a stream; None where it is none."""
    if not event.startswith(_ERRORS):
        return None
    error = _json(event).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500


def is_usage(event: bytes) -> bool:
    """Tell whether an event of a chat or completion holds nothing but the usage."""
    return any(mark in event for mark in NO_CHOICES)


def usage_of(body: bytes) -> tuple[int | None, int | None]:
    """Return (prompt tokens, completion tokens) of a whole answer or of the event that holds them."""
    value = _json(body)
    usage = (value.get("response") or value).get("usage") or {}
    return (
        usage.get("prompt_tokens", usage.get("input_tokens")),
        # Vectors cost nothing but their texts, and say so by saying nothing.
        usage.get("completion_tokens", usage.get("output_tokens", 0 if value.get("object") == "list" else None)),
    )


def said(pieces: Sequence[bytes]) -> Any:
    """Return what was answered: text, or content, reasoning and tool calls; a list of these for several choices.

    Args:
        pieces: the answer as it came: one body, or the events of a stream.
    """
    choices: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        value = _json(piece)
        if "error" in value:
            return value["error"]
        if "undecoded" in value:
            return value["undecoded"]
        if output := (value.get("response") or value).get("output"):
            choices = {0: _said_by_items(output)}
        elif str(value.get("type", "")).startswith("response."):
            _add_event(choices.setdefault(0, {}), value)
        for choice in value.get("choices", ()):
            _add(choices.setdefault(choice.get("index", 0), {}), choice)
    found = [_plain(choices[index]) for index in sorted(choices)]
    return found[0] if len(found) == 1 else found


def spoken(answer: Any) -> str:
    """Return the text that a person reads of what `said` found: no thoughts, no calls; several choices as lines."""
    if isinstance(answer, list):
        return "\n".join(spoken(choice) for choice in answer)
    return str(answer.get("content", "")) if isinstance(answer, dict) else str(answer)


def _json(piece: bytes) -> dict[str, Any]:
    """Return the JSON object in a body or an event; {} where there is none."""
    start = 0 if piece.startswith(b"{") else piece.find(DATA) + len(DATA)
    text = piece[start:].strip() if start == 0 or DATA in piece else b""
    if not text.startswith(b"{"):
        return {}
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"undecoded": text.decode("utf-8", "replace")}
    return value


def _add(found: dict[str, Any], choice: dict[str, Any]) -> None:
    """Add a choice, whole or a piece of it, to what is known of it."""
    message = choice.get("message") or choice.get("delta") or {}
    texts = {"content": message.get("content") or choice.get("text"), "reasoning": message.get("reasoning")}
    for name, text in texts.items():
        if text:
            found[name] = found.get(name, "") + text
    calls = found.setdefault("tool_calls", {}) if message.get("tool_calls") else {}
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        kept = calls.setdefault(call.get("index", place), {"name": "", "arguments": ""})
        kept["name"] += function.get("name") or ""
        kept["arguments"] += function.get("arguments") or ""


def _plain(found: dict[str, Any]) -> Any:
    """Return text alone where there is nothing else."""
    if set(found) <= {"content"}:
        return found.get("content", "")
    calls = found.get("tool_calls")
    return found | ({"tool_calls": [calls[index] for index in sorted(calls)]} if calls else {})


def _said_by_items(output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the items of a response say."""
    found: dict[str, Any] = {}
    for place, item in enumerate(output):
        if item.get("type") == "function_call":
            call = {"name": item.get("name") or "", "arguments": item.get("arguments") or ""}
            found.setdefault("tool_calls", {})[place] = call
            continue
        name = "reasoning" if item.get("type") == "reasoning" else "content"
        text = "".join(part.get("text") or "" for part in item.get("content") or ())
        if text:
            found[name] = found.get(name, "") + text
    return found


def _add_event(found: dict[str, Any], event: dict[str, Any]) -> None:
    """Add an event of a response's stream to what is known of it: all there is where the stream breaks off."""
    kind, place = event.get("type"), event.get("output_index", 0)
    if kind == "response.output_item.added" and (event.get("item") or {}).get("type") == "function_call":
        found.setdefault("tool_calls", {})[place] = {"name": event["item"].get("name") or "", "arguments": ""}
    if not isinstance(event.get("delta"), str):
        return
    if kind in _TEXT_DELTAS:
        found[_TEXT_DELTAS[kind]] = found.get(_TEXT_DELTAS[kind], "") + event["delta"]
    elif kind == "response.function_call_arguments.delta":
        call = found.setdefault("tool_calls", {}).setdefault(place, {"name": "", "arguments": ""})
        call["arguments"] += event["delta"]
