"""Reasoning in a field of its own, under the names that APIs and data sets give it."""

from collections.abc import Mapping
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import is_given

#: Of turns and of rows, in the order they are asked; a row that has two has them for one thought (OpenRouter's).
THOUGHT_FIELDS: Final = ("thinking", "reasoning_content", "reasoning", "reasoning_details", "thought", "thoughts")
#: Of rows with one answer, further ones, in lower case.
ROW_THOUGHT_FIELDS: Final = (
    *THOUGHT_FIELDS, "complex_cot", "cot", "chain_of_thought", "思考", "思考过程", "思维链", "推理过程",
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


def text_in(value: Any, what: str) -> str:
    """Return the text of reasoning: text, a part, or a list of them; what is encrypted has none.

    Raises:
        BadRowError: it is none of these.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := text_in(part, what)).strip())
    if isinstance(value, Mapping):
        found = next((value[name] for name in _TEXTS if is_given(value, name)), None)
        return text_in(found, what)
    raise BadRowError("wrong_type", f"{what} is a {type(value).__name__}, no reasoning")
