"""Reasoning in a field of its own, under the names that APIs and data sets give it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.chat.conversation import OPEN
from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Said, is_given
from tasks.data.reading.reasoning import fold

#: Of turns and of rows, in the order they are asked; a row that has two has them for one thought (OpenRouter's).
THOUGHT_FIELDS: Final = ("thinking", "reasoning_content", "reasoning", "reasoning_details", "thought", "thoughts")
#: Of rows with one answer, further ones, in lower case.
ROW_THOUGHT_FIELDS: Final = (
    *THOUGHT_FIELDS, "complex_cot", "cot", "chain_of_thought", "思考", "思考过程", "思维链", "推理过程",
)  # fmt: skip
#: Words that set how much is thought (`reasoning: on` of a row), and are no thought themselves.
_SETTINGS: Final = frozenset(
    (
        "on", "off", "true", "false", "yes", "no", "none", "auto", "minimal", "low", "medium", "high", "xhigh",
        "enabled", "disabled", "开", "关", "是", "否",
    )
)  # fmt: skip
_NAMES: Final = frozenset(THOUGHT_FIELDS)
_TEXTS: Final = ("text", "thinking", "reasoning", "content", "summary", "value")


def thought_of(turn: Mapping[str, Any], where: str = "", fields: tuple[str, ...] = THOUGHT_FIELDS) -> str:
    """Return the reasoning a turn or row carries in a field of its own, "" for none.

    Raises:
        BadRowError: the field holds what is no text, no part and no list of them.
    """
    if fields is THOUGHT_FIELDS and _NAMES.isdisjoint(turn):
        return ""
    for name in fields:
        if is_given(turn, name) and (text := text_in(turn[name], f"{where}`{name}`")).strip():
            return text
    return ""


def add_row_thoughts(row: Mapping[str, Any], said: Sequence[Said], fields: tuple[str, ...]) -> list[str]:
    """Give the answers of a row of turns the reasoning that stands beside the turns, unless they have their own.

    Args:
        row: the raw row; a list as long as its answers holds one thought each, anything else is the last answer's.
        said: its turns, changed in place.
        fields: that may hold it.

    Returns:
        What was done, in words.
    """
    name = next((field for field in fields if is_given(row, field) and not _is_setting(row[field])), None)
    answers = [turn for turn in said if turn.role == "assistant"]
    if name is None or not answers:
        return []
    value = row[name]
    each = isinstance(value, list) and len(value) == len(answers)
    found = [(turn, text_in(one, f"`{name}`")) for turn, one in
             (zip(answers, value, strict=True) if each else [(answers[-1], value)])]  # fmt: skip
    given = [(turn, text) for turn, text in found if text.strip() and OPEN not in turn.content]
    for turn, text in given:
        turn.content = fold(turn.content, text)
    return [f"`{name}` of the row is the reasoning of {'its answers' if each else 'its last answer'}"] if given else []


def _is_setting(value: Any) -> bool:
    """Tell whether a value says how much to think instead of what was thought."""
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in _SETTINGS)


def text_in(value: Any, what: str) -> str:
    """Return the text of reasoning: text, a part, or a list of them; what is encrypted has none.

    Raises:
        BadRowError: it is none of these.
    """
    if value is None or _is_setting(value):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := text_in(part, what)).strip())
    if isinstance(value, Mapping):
        found = next((value[name] for name in _TEXTS if is_given(value, name)), None)
        return text_in(found, what)
    raise BadRowError("wrong_type", f"{what} is a {type(value).__name__}, no reasoning")
