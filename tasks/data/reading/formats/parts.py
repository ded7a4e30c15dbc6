"""Content as a list of parts: text, reasoning, calls and results; media are refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import is_given
from tasks.data.reading.formats.media import MEDIA_PARTS, refuse_media
from tasks.data.reading.formats.thoughts import text_in
from tasks.data.reading.formats.tools import results_in

_CALL_FIELDS = ("id", "name", "input", "arguments")


@dataclass(slots=True)
class Parts:
    """What a list of parts says.

    Args:
        text: of the text parts, one after the other.
        thought: of the parts that are reasoning.
        calls: of `tool_use` parts.
        results: `tool_result` parts: (id of the call, text).
    """

    text: str = ""
    thought: str = ""
    calls: list[Any] = field(default_factory=list)
    results: list[tuple[str | None, str]] = field(default_factory=list)


def read_parts(content: Any, where: str) -> Parts:
    """Return what a content says that is a part or a list of parts.

    Raises:
        BadRowError: a part is media, or of a type that is not known.
    """
    found, texts, thoughts = Parts(), [], []
    for part in content if isinstance(content, list) else [content]:
        for kind, value in _read(part, where):
            if kind == "text":
                texts.append(value)
            elif kind == "thought":
                thoughts.append(value)
            elif kind == "call":
                found.calls.append(value)
            else:
                found.results.append(value)
    found.text, found.thought = "".join(texts), "\n".join(thought for thought in thoughts if thought.strip())
    return found


def _read(part: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield what one part is, and what it says."""
    if isinstance(part, str):
        yield "text", part
        return
    if not isinstance(part, Mapping):
        raise BadRowError("wrong_type", f"{where}a part of the content is a {type(part).__name__}")
    kind = part.get("type") or "text"
    refuse_media(part, where)
    if not isinstance(kind, str) or MEDIA_PARTS.search(kind.lower()):
        raise BadRowError("media", f"{where}a part of the content is no text")
    if kind in ("tool_use", "tool_call", "function_call"):
        yield (
            "call",
            part.get(kind) or {name: part[name] for name in ("id", "name", "input", "arguments") if name in part},
        )
    elif kind in ("tool_result", "tool_response"):
        inner = results_in(part.get("content"))
        yield "result", (part.get("tool_use_id"), read_parts(inner, where).text if inner is not None else "")
    elif kind.startswith(("reasoning", "thinking", "thought")):
        yield "thought", text_in(part, f"{where}a part of reasoning")
    elif kind == "redacted_thinking":
        return
    else:
        yield "text", _text(part, kind, where)


def _text(part: Mapping[str, Any], kind: str, where: str) -> str:
    """Return the text of a part that is text: `text`, `input_text`, `output_text`, `refusal`."""
    name = next((name for name in ("text", "content", "value", "refusal") if is_given(part, name)), "text")
    text = part.get(name)
    if text is None and kind in ("text", "input_text", "output_text", "refusal"):
        return ""
    if not isinstance(text, str):
        raise BadRowError("wrong_type", f"{where}a part of the content is of no type that holds text")
    return text
