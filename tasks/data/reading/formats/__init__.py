"""Rows of all formats to one list of chat messages; the format is told row by row."""

import re
from dataclasses import dataclass
from typing import Any

from tasks.chat.conversation import ROLE_LETTERS, ROLE_ORDER, Message
from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Draft, system
from tasks.data.reading.formats.readers import READERS, detect
from tasks.data.reading.language import language_of
from tasks.data.reading.reasoning import check_languages
from tasks.data.reading.text_damage import is_mojibake, repaired

__all__ = ["Parsed", "detect", "parse"]

_IN_ORDER = re.compile(ROLE_ORDER).fullmatch


@dataclass(frozen=True)
class Parsed:
    """What a raw row says.

    Args:
        format: which reader understood it.
        language: `zh` or `en`, of what user and assistant say.
        concept: what the row teaches, where it names it.
        messages: optional system, then user, assistant and tool turns in order, ending with assistant.
        tools: JSON text of the tools on offer.
        rejected: the answer a preference row refuses; the chosen one is the last message.
        repairs: {"field": ..., "read_as": encoding} of each text that was decoded wrongly and repaired.
    """

    format: str
    language: str
    concept: str | None
    messages: tuple[Message, ...]
    tools: str | None = None
    rejected: str | None = None
    repairs: tuple[dict[str, str], ...] = ()


def parse(row: Any, override_format: str | None = None, *, repair_mojibake: bool = True) -> Parsed:
    """Return a raw row as a chat.

    Args:
        row: the value of a raw row.
        override_format: the format all rows of the file have (`params.files`); None: told by the row's fields.
        repair_mojibake: repair wrongly decoded text where the round trip proves it; else such a row is refused.

    Raises:
        BadRowError: the row is no object, of no known format, or breaks its format's rules.
    """
    if not isinstance(row, dict):
        raise BadRowError("not_an_object", f"the row is a {type(row).__name__}")
    draft = READERS[override_format or detect(row)](row)
    _check_roles(draft)
    repairs = _mend_texts(draft, repair_mojibake)
    spoken = "\n".join([said["content"] for said in draft.messages if said["role"] in ("user", "assistant")])
    language = language_of(spoken)
    if language is None:
        raise BadRowError("unsupported_language", "most letters are neither Chinese nor Latin")
    if draft.reasoning_language:
        check_languages(draft.messages, draft.reasoning_language)
    concept = row.get("concept")
    return Parsed(
        override_format or draft.format,
        language,
        concept if isinstance(concept, str) and concept else None,
        tuple(draft.messages),
        draft.tools,
        draft.rejected,
        repairs,
    )


def _check_roles(draft: Draft) -> None:
    """Join leading system turns into one.

    Raises:
        BadRowError: a turn is empty, or the roles are not in a chat's order.
    """
    messages, leading = draft.messages, 0
    while leading < len(messages) and messages[leading]["role"] == "system":
        leading += 1
    turns = messages[leading:]
    if not turns:
        raise BadRowError("empty_turn", "there is no turn")
    roles = "".join([ROLE_LETTERS[said["role"]] for said in turns])
    if not _IN_ORDER(roles):
        # Letters only, and not thousands of them.
        raise BadRowError("wrong_role_order", f"the roles are {roles[:40]}, not {ROLE_ORDER}")
    for number, said in enumerate(turns, start=leading + 1):
        if not said["content"]:
            raise BadRowError("empty_turn", f"turn {number} is empty")
    if leading:
        joined = "\n\n".join([said["content"] for said in messages[:leading] if said["content"]])
        draft.messages = system(joined) + turns


def _mend_texts(draft: Draft, repair: bool) -> tuple[dict[str, str], ...]:
    """Repair wrongly decoded texts, and return the record of it.

    Raises:
        BadRowError: a text cannot be stored, or is damaged and not repaired.
    """
    repairs: list[dict[str, str]] = []
    for number, said in enumerate(draft.messages):
        text = said["content"]
        # Most English texts end here.
        if not text.isascii() or "\x00" in text:
            said["content"] = _sound(text, f"messages.{number}", repair, repairs)
    if draft.tools:
        draft.tools = _sound(draft.tools, "tools", repair, repairs)
    if draft.rejected:
        draft.rejected = _sound(draft.rejected, "rejected", repair, repairs)
    return tuple(repairs)


def _sound(text: str, field: str, repair: bool, repairs: list[dict[str, str]]) -> str:
    """Return a text as it was meant."""
    if not _is_storable(text):
        raise BadRowError("invalid_text", "NUL or half a surrogate pair")
    if not repair and is_mojibake(text):
        raise BadRowError("mojibake", "the text was decoded with the wrong encoding")
    better, read_as = repaired(text)
    if read_as:
        repairs.append({"field": field, "read_as": read_as})
    return better


def _is_storable(text: str) -> bool:
    """Tell whether text has neither NUL nor half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
