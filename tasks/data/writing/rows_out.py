"""Prepared rows to the rows of each format: what reading makes of them again is the same chat."""

from collections.abc import Callable
from typing import Any, Final

from tasks.chat.conversation import Message
from tasks.data.problems import BadRowError
from tasks.data.reading.formats.tools import call_text, calls_in
from tasks.data.reading.reasoning import check_languages, unfold

Row = dict[str, Any]
#: {row_id, language, concept, messages, tools?, rejected?, untaught?} -> a row of the format; raises `NoRoomError`.
Writer = Callable[[Row], Row]

_SPEAKERS: Final = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
MARKS: Final = "marks of answers that are not to be learnt (untaught)"
_LANGUAGES: Final = {"zh": "Chinese", "en": "English"}


class NoRoomError(Exception):
    """A format cannot hold a row; the argument names what it has no place for."""


def alpaca_row(row: Row) -> Row:
    """Return instruction, output, system and history; results of tools and marks of turns have no place there."""
    system, turns = _parted(row["messages"])
    if row.get("untaught"):
        raise NoRoomError(MARKS)
    if any(turn["role"] == "tool" for turn in turns):
        raise NoRoomError("results of tools")
    texts = [turn["content"] for turn in turns]
    pairs = [list(pair) for pair in zip(texts[:-2:2], texts[1:-2:2], strict=True)]
    return {
        "instruction": texts[-2],
        "input": "",
        "output": texts[-1],
        "system": system,
        "history": pairs,
        **_rest(row),
    }


def sharegpt_row(row: Row) -> Row:
    """Return `conversations`; a turn that is nothing but calls becomes a `function_call` turn."""
    return {"conversations": [_said(message) for message in row["messages"]], **_rest(row)}


def messages_row(row: Row) -> Row:
    """Return OpenAI `messages`.

    Calls stay in the text, in the form the Qwen templates write: LLaMA-Factory's own reader of `tool_calls` stops at
    rows without any, and adds a system prompt of its own.
    """
    return {"messages": row["messages"], **_rest(row)}


def thinking_row(row: Row) -> Row:
    """Return `messages` with the reasoning in a field of its own, and its language where all of the row agrees."""
    messages = [_thought(message) for message in row["messages"]]
    language = _LANGUAGES[row["language"]]
    try:
        check_languages(row["messages"], language)
    except BadRowError:
        language = ""
    return {"reasoning_language": language, "messages": messages, **_rest(row)}


def preference_row(row: Row) -> Row:
    """Return LLaMA-Factory's `conversations`, `chosen` and `rejected`; rows without a rejected answer have no place."""
    if not row.get("rejected"):
        raise NoRoomError("rows without a rejected answer")
    if row.get("untaught"):
        raise NoRoomError(MARKS)
    *asked, answer = row["messages"]
    return {
        "conversations": [_said(message) for message in asked],
        "chosen": {"from": "gpt", "value": answer["content"]},
        "rejected": {"from": "gpt", "value": row["rejected"]},
        **_rest(row),
    }


WRITERS: Final[dict[str, Writer]] = {
    "alpaca": alpaca_row,
    "sharegpt": sharegpt_row,
    "messages": messages_row,
    "multilingual_thinking": thinking_row,
    "preference": preference_row,
}


def _parted(messages: list[Message]) -> tuple[str, list[Message]]:
    """Return the system prompt and the turns."""
    if messages[0]["role"] == "system":
        return messages[0]["content"], messages[1:]
    return "", messages


def _said(message: Message) -> Message:
    """Return a ShareGPT turn; calls that a `function_call` turn would not bring back to the letter stay text."""
    content = message["content"]
    if message["role"] == "assistant" and (calls := calls_in(content)):
        value = calls[0] if len(calls) == 1 else f"[{', '.join(calls)}]"
        if _brings_back(value, content):
            return {"from": "function_call", "value": value}
    return {"from": _SPEAKERS[message["role"]], "value": content}


def _brings_back(value: str, content: str) -> bool:
    """Tell whether a `function_call` turn is read as this content; text that only looks like a call is not."""
    try:
        return call_text(value, 1) == content
    except BadRowError:
        return False


def _thought(message: Message) -> Message:
    """Return a turn with its reasoning apart; every turn has the field, as tables need it."""
    if message["role"] != "assistant":
        return {**message, "thinking": ""}
    reasoning, answer = unfold(message["content"])
    return {"role": "assistant", "content": answer, "thinking": reasoning}


def _rest(row: Row) -> Row:
    """Return what every format carries beside its turns."""
    return {"tools": row.get("tools") or "", "concept": row.get("concept") or "", "row_id": row["row_id"]}


def further(row: Row, written: Row, fields: frozenset[str]) -> Row:
    """Return a written row with the fields that only some rows have; tables need them in all.

    Args:
        row: as prepared.
        written: the row in its format.
        fields: those that a row of the export has: `rejected`, `loss_mask` (1 for a turn that may be learnt).
    """
    more: Row = {}
    if "rejected" in fields and "rejected" not in written:
        more["rejected"] = row.get("rejected") or ""
    if "loss_mask" in fields:
        untaught = row.get("untaught") or ()
        more["loss_mask"] = [int(place not in untaught) for place in range(len(row["messages"]))]
    return written | more
