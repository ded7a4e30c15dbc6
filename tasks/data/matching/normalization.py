"""What two texts have in common whatever their width, case, punctuation, spacing and Chinese script."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from tasks.core.folding import (
    COMMA,
    DEGREES,
    LONG_WAY,
    POINT,
    SEPARATOR,
    Points,
    folded_points,
    is_digit,
    is_han,
    simplified,
)

_HAN_RANGES = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"

#: Stands between words that are not Chinese.
WORD_GAP = " "
#: Characters folded at once: few enough to stay in the processor's cache.
_GROUP_CHARACTERS = 1 << 17
_END = 0x1F

_POINT, _DASH, _GAP = "\x00", "\x01", "\x02"
#: The marks themselves are separators in a text; a degree sign is one word with its unit.
_BEFOREHAND = {0: 3, 1: 3, 2: 3, **DEGREES}
_APART = r"(?:[^\w<>=+≤≥±×÷\x00\x01]|_)"
_SEPARATING = re.compile(_APART + "+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BETWEEN_DIGITS = re.compile(rf"(?<=\d){_APART}+(?=\d)")
_BETWEEN_WORDS = re.compile(rf"(?<![{_HAN_RANGES}\x00\x01\x02])(?<!^)\x02(?![{_HAN_RANGES}]|$)")

_HAN = re.compile(f"[{_HAN_RANGES}]")


def normalize(text: str) -> str:
    """Return text without the differences that do not matter.

    Those are NFKC, case, punctuation, whitespace, traditional characters. Numbers stay apart: `1.5` never becomes `15`;
    `3-5`, `3～5` and `3 – 5` become one form, `1,000` becomes `1000`. Comparison signs stay: `<50` is not `>50`.
    """
    return normalize_all([text])[0]


def normalize_all(texts: Sequence[str]) -> list[str]:
    """Return `normalize(text)` for each text; many at once cost a fraction of one by one."""
    return [text.replace(WORD_GAP, "") for text in _with_word_gaps(texts)]


@dataclass(frozen=True)
class NormalizedRow:
    """What a conversation says, for comparison.

    Args:
        roles: `u`, `a` or `t` (user, assistant, tool) for each spoken turn; the system prompt is none.
        turns: their normalized texts; a space stands where words that are not Chinese were apart. A turn of nothing
            but symbols keeps them, or all such rows would be one.
    """

    roles: str
    turns: tuple[str, ...]

    @cached_property
    def texts(self) -> list[str]:
        """The turns as `normalize` gives them: without spaces."""
        return [turn.replace(WORD_GAP, "") for turn in self.turns]


def normalized(messages: Sequence[Mapping[str, str]]) -> NormalizedRow:
    """Return the normalized row of a conversation."""
    return normalized_rows([messages])[0]


def normalized_rows(conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[NormalizedRow]:
    """Return `normalized(messages)` for each conversation; many at once cost a fraction of one by one."""
    spoken = [[message for message in messages if message["role"] != "system"] for messages in conversations]
    contents = [message["content"] for messages in spoken for message in messages]
    turns = iter([text or content.strip() for text, content in zip(_with_word_gaps(contents), contents, strict=True)])
    return [
        NormalizedRow("".join(message["role"][0] for message in messages), tuple(islice(turns, len(messages))))
        for messages in spoken
    ]


def _with_word_gaps(texts: Sequence[str]) -> list[str]:
    """Return the normalized texts with a space between words that are not Chinese."""
    done: list[str] = []
    group: list[str] = []
    characters = 0
    for text in texts:
        group.append(text)
        characters += len(text)
        if characters > _GROUP_CHARACTERS:
            done += _fold_group(group)
            group, characters = [], 0
    return done + (_fold_group(group) if group else [])


def _fold_group(texts: Sequence[str]) -> list[str]:
    """Return some texts, normalized with word gaps, by one look-up over all their characters."""
    joined = "\n".join(texts).encode("utf-32-le", "surrogatepass")
    ends = np.cumsum([len(text) + 1 for text in texts])[:-1] - 1
    folded = folded_points()[np.frombuffer(joined, dtype="<u4")]
    special = np.flatnonzero(folded == LONG_WAY)
    folded[special] = SEPARATOR
    folded[ends] = _END
    _mark_gaps(folded)
    parts = folded[folded > COMMA].tobytes().decode("utf-32-le").split(chr(_END))
    for number in np.unique(np.searchsorted(ends, special)).tolist():
        parts[number] = _normalize_one(texts[number])
    return parts


def _mark_gaps(folded: Points) -> None:
    """Write into each gap that matters what stands for it: between two digits, and between two words."""
    kept = np.flatnonzero(folded > COMMA)
    wide = np.flatnonzero(np.diff(kept) > 1)
    before, after = kept[wide], kept[wide + 1]
    left, right = folded[before], folded[after]
    numeric = is_digit()[left] & is_digit()[right]
    words = ~(numeric | is_han(left) | is_han(right) | (left == _END) | (right == _END))
    folded[before[words] + 1] = ord(WORD_GAP)
    before, after = before[numeric], after[numeric]
    sign = np.where(after - before == 2, folded[before + 1], SEPARATOR)
    following = np.append(folded, [_END] * 3)[after[:, None] + np.arange(1, 4)]
    thousands = (sign == COMMA) & (is_digit()[following] == [True, True, False]).all(axis=1)
    marks = np.where(sign == POINT, ord("."), ord("-"))
    folded[before + 1] = np.where(thousands, SEPARATOR, marks)


def _normalize_one(text: str) -> str:
    """Return one text, normalized with word gaps, whatever characters are in it: the rules as they read."""
    text = unicodedata.normalize("NFKC", text.translate(_BEFOREHAND)).casefold().translate(simplified())
    text = _THOUSANDS.sub("", text)
    text = _BETWEEN_DIGITS.sub(lambda gap: _POINT if gap[0] == "." else _DASH, text)
    text = _BETWEEN_WORDS.sub(WORD_GAP, _SEPARATING.sub(_GAP, text)).replace(_GAP, "")
    return text.replace(_POINT, ".").replace(_DASH, "-")


def is_han_character(character: str) -> bool:
    """Tell whether a character is Chinese."""
    return _HAN.match(character) is not None


def han_count(text: str) -> int:
    """Return the number of Chinese characters."""
    return 0 if text.isascii() else len(_HAN.findall(text))
