"""Rows of all formats to one list of chat messages; the format is told row by row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tasks.chat.conversation import ROLE_LETTERS, ROLE_ORDER, Message
from tasks.data.problems import BadRowError
from tasks.data.reading.formats.columns import lowered, mapped
from tasks.data.reading.formats.fields import Draft, system
from tasks.data.reading.formats.marks import refuse_bad_rows
from tasks.data.reading.formats.media import refuse_media, refuse_placeholders
from tasks.data.reading.formats.readers import READERS, as_row, detect
from tasks.data.reading.formats.turns import ROLES
from tasks.data.reading.language import language_of
from tasks.data.reading.reasoning import check_languages
from tasks.data.reading.text_damage import is_mojibake, repaired

__all__ = ["Parsed", "detect", "parse"]

_IN_ORDER = re.compile(ROLE_ORDER).fullmatch
#: Role orders are said in words, and not thousands of them.
_SHOWN_TURNS = 8


@dataclass(frozen=True)
class Parsed:
    """What a raw row says.

    Args:
        format: which reader understood it.
        language: `zh` or `en`, of what user and assistant say.
        concept: what the row teaches, where it names it.
        messages: optional system, then user, assistant and tool turns in order, ending with an answer that is learnt.
        tools: JSON text of the tools on offer.
        rejected: the answer a preference row refuses; the chosen one is the last message.
        repairs: {"field": ..., "read_as": encoding} of each text that was decoded wrongly and repaired.
        untaught: places of assistant messages that carry no loss, from 0: the row's own marks say so.
        notes: what was left out or is not learnt, in words.
    """

    format: str
    language: str
    concept: str | None
    messages: tuple[Message, ...]
    tools: str | None = None
    rejected: str | None = None
    repairs: tuple[dict[str, str], ...] = ()
    untaught: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def parse(
    row: Any,
    override_format: str | None = None,
    *,
    repair_mojibake: bool = True,
    columns: Mapping[str, str | None] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Parsed:
    """Return a raw row as a chat.

    Args:
        row: the value of a raw row: an object, or a bare list of turns.
        override_format: the format all rows of the file have (`params.files`); None: told by the row's fields.
        repair_mojibake: repair wrongly decoded text where the round trip proves it; else such a row is refused.
        columns: field -> column of the file, where the file has other names.
        roles: further names of speakers -> role.

    Raises:
        BadRowError: the row is no object, of no known format, or breaks its format's rules.
    """
    row = mapped(as_row(row), columns or {})
    draft = _read(row, override_format, {**ROLES, **roles} if roles else ROLES)
    untaught = _check_turns(draft)
    messages: list[Message] = [{"role": turn.role, "content": turn.content} for turn in draft.said]
    repairs = _mend_texts(draft, messages, repair_mojibake)
    refuse_placeholders((*(message["content"] for message in messages), draft.rejected or ""))
    spoken = "\n".join([said["content"] for said in messages if said["role"] in ("user", "assistant")])
    language = language_of(spoken)
    if language is None:
        raise BadRowError("unsupported_language", "most letters are neither Chinese nor Latin")
    if draft.reasoning_language:
        check_languages(messages, draft.reasoning_language)
    concept = row.get("concept")
    return Parsed(
        override_format or draft.format,
        language,
        concept if isinstance(concept, str) and concept else None,
        tuple(messages),
        draft.tools,
        draft.rejected,
        repairs,
        untaught,
        tuple(draft.notes),
    )


def _read(row: dict[str, Any], override_format: str | None, roles: Mapping[str, str]) -> Draft:
    """Return the turns of a row, if it may be learnt from at all."""
    format_ = override_format
    if format_ is None:
        row, format_ = _told(row)
    refuse_media(row)
    refuse_bad_rows(row)
    return READERS[format_](row, roles)


def _told(row: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a row under the names that its format has, and the format."""
    try:
        return row, detect(row)
    except BadRowError as problem:
        # Question, Complex_CoT, Response: the same names.
        low = lowered(row)
        try:
            return low, detect(low)
        except BadRowError:
            # Said of the names that the file has: a mapping is written with them.
            raise problem from None


def _check_turns(draft: Draft) -> tuple[int, ...]:
    """Join leading system turns into one, cut what follows the last answer that is learnt; return the others' places.

    Raises:
        BadRowError: a turn is empty, the roles are not in a chat's order, or no answer is to be learnt.
    """
    turns, leading = draft.said, 0
    while leading < len(turns) and turns[leading].role == "system":
        leading += 1
    before, turns = turns[:leading], turns[leading:]
    if not turns:
        raise BadRowError("empty_turn", "there is no turn")
    if turns[-1].role == "user" and len(turns) > 1:
        turns = _without_last_words(draft, turns)
    roles = "".join([ROLE_LETTERS[turn.role] for turn in turns])
    if not _IN_ORDER(roles):
        raise BadRowError("wrong_role_order", _order_in_words([turn.role for turn in turns]))
    for number, turn in enumerate(turns, start=leading + 1):
        if not turn.content:
            raise BadRowError("empty_turn", f"turn {number} is empty")
    if leading:
        before = system("\n\n".join([turn.content for turn in before if turn.content]))
    draft.said = before + turns
    if all(turn.taught or turn.role != "assistant" for turn in turns):
        return ()
    return _untaught(draft)


def _without_last_words(draft: Draft, turns: list[Any]) -> list[Any]:
    """Return turns without the user's last words, which nobody answered."""
    kept = len(turns)
    while kept and turns[kept - 1].role == "user":
        kept -= 1
    if not kept:
        return turns
    draft.notes.append("the user's last turn has no answer and is left out")
    return turns[:kept]


def _untaught(draft: Draft) -> tuple[int, ...]:
    """Return the places of answers that are marked not to be learnt; nothing follows the last one that is.

    Raises:
        BadRowError: none is to be learnt.
    """
    turns = draft.said
    last = max((place for place, turn in enumerate(turns) if turn.role == "assistant" and turn.taught), default=None)
    if last is None or (draft.rejected and last < len(turns) - 1):
        raise BadRowError("nothing_to_learn", "every answer is marked not to be learnt")
    if last < len(turns) - 1:
        draft.notes.append(f"{len(turns) - 1 - last} turns after the last answer that is learnt are left out")
        draft.said = turns[: last + 1]
    places = tuple(p for p, turn in enumerate(draft.said) if turn.role == "assistant" and not turn.taught)
    if places:
        draft.notes.append(f"no loss on turn {', '.join(str(place + 1) for place in places)}: marked not to be learnt")
    return places


def _order_in_words(roles: list[str]) -> str:
    """Say in words which turn stands where none like it belongs."""
    said = ", ".join(roles[:_SHOWN_TURNS]) + (", ..." if len(roles) > _SHOWN_TURNS else "")
    return f"{_fault_in_words(roles)}; the turns are {said}"


def _fault_in_words(roles: list[str]) -> str:
    """Name the first turn that is out of order."""
    if roles[0] != "user":
        return f"the first turn is the {roles[0]}'s, not the user's"
    for number, (one, other) in enumerate(pairwise(roles), start=2):
        if other == "system":
            return f"turn {number} is a system turn in the midst of the conversation"
        if one == other and one != "tool":
            return f"turns {number - 1} and {number} are both the {one}'s"
        if one == "user" and other == "tool":
            return f"turn {number} is a tool's result with no call before it"
        if one == "tool" and other == "user":
            return f"turn {number} is the user's, and the result before it has no answer"
    return f"the last turn is the {roles[-1]}'s, not an answer of the assistant"


def _mend_texts(draft: Draft, messages: list[Message], repair: bool) -> tuple[dict[str, str], ...]:
    """Repair wrongly decoded texts, and return the record of it.

    Raises:
        BadRowError: a text cannot be stored, or is damaged and not repaired.
    """
    repairs: list[dict[str, str]] = []
    for number, said in enumerate(messages):
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
