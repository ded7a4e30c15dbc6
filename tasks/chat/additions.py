"""What a chat template adds to rows that do not have it: a system turn, words in one, an empty thought.

Found by asking the template (as for calls and thoughts), not by its name: what it writes around words nobody else uses.
"""

import re
from typing import Any, Final

from tasks.chat.conversation import OPEN
from tasks.chat.rows import RowRefused, Writer, encode_row
from tasks.chat.sequences import common_prefix
from tasks.chat.template import Message
from tasks.core.errors import DataContractError

#: Words of the probe; no template has them.
_SYSTEM, _ASKED, _ANSWER, _AGAIN = (f"tunegate-probe-{number}" for number in range(4))
#: A template that writes today's date would write another one tomorrow.
_CLOCK: Final = {"strftime_now": lambda form: "(today)"}
#: A tag of a template, with the role that may stand in it.
_TAG: Final = re.compile(r"(?:<[|｜][^<>]*[|｜]>|<[^<>\s]{1,40}>|\[\w+\])(?:(?:system|developer|user)(?=\s|<|\Z))?")
_ROLE: Final = re.compile(r"\bsystem\b")


def template_additions(tokenizer: Any) -> dict[str, str]:
    """Return what the chat template of a tokenizer adds, by kind; a kind that it does not add has no entry.

    Args:
        tokenizer: its template is asked.

    Returns:
        `system_turn`: the words of the system turn it writes for a row without one ("": an empty turn);
        `in_system_turn`: the words it writes beside a row's own system prompt; `empty_thought`: what stands before an
        answer without a thought.
    """
    asked, answer = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWER}
    turns = [asked, answer, {"role": "user", "content": _AGAIN}]
    before, _, between = _around(tokenizer, turns)
    own_before, own_after, *_ = _around(tokenizer, [{"role": "system", "content": _SYSTEM}, *turns])
    first = _without_end(before, between)
    if len(first) <= len(tokenizer.bos_token or ""):
        first = ""  # the token that begins every text
    found = {
        "system_turn": _words(first),
        "in_system_turn": f"{_words(own_before)}\n{_words(_without_end(own_after, between))}".strip(),
        "empty_thought": _empty_thought(tokenizer, [asked, answer]),
    }
    added = {kind: text for kind, text in found.items() if text}
    return added | ({"system_turn": ""} if not found["system_turn"] and _ROLE.search(first) else {})


def _around(tokenizer: Any, turns: list[Message]) -> list[str]:
    """Return what the template writes before each turn's words; nothing where it refuses them."""
    try:
        text = Writer(tokenizer, None, _CLOCK)(turns)
    except RowRefused:
        return [""] * len(turns)
    pieces = re.split("|".join(turn["content"] for turn in turns), text)
    return pieces[:-1] if len(pieces) == len(turns) + 1 else [""] * len(turns)


def _without_end(text: str, between: str) -> str:
    """Return a text without the end that also stands between two turns: what closes one and opens the user's."""
    return text[: len(text) - common_prefix(text[::-1], between[::-1])]


def _words(text: str) -> str:
    """Return a text without tags and the roles in them."""
    return _TAG.sub("", text).strip()


def _empty_thought(tokenizer: Any, turns: list[Message]) -> str:
    """Return the thought that stands before an answer which has none, as it is trained."""
    try:
        row = encode_row("", turns, tokenizer, settings=_CLOCK)
    except (RowRefused, DataContractError):
        return ""  # said where rows are encoded
    before = str(tokenizer.decode(row.input_ids)).partition(_ASKED)[2].partition(_ANSWER)[0]
    return f"{OPEN}{before.rpartition(OPEN)[2]}".strip() if OPEN in before else ""
