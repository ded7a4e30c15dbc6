"""One table from every Unicode character to what comparison sees of it, so that whole chunks fold in one look-up.

Most characters fold to one character whatever stands beside them: compatibility form (NFKC), case, traditional to
simplified. Those that do not (`½`, `㎏`, combining marks) are marked, and their texts go the long way. OpenCC's
dictionary gives the simplified forms, taken character by character: both sides of a comparison take the same road.
"""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.uint32]

#: What the table says of characters that separate: a point and a comma mean something between digits.
SEPARATOR, POINT, COMMA = 0, 1, 2
#: What it says of characters whose text goes the long way.
LONG_WAY = 0xFFFFFFFF
#: Frequent in Chinese, so they are spared the long way.
DEGREES = {ord("℃"): ord("c"), ord("℉"): ord("f")}
#: Signs kept beside letters and digits: `<50` is not `>50`.
COMPARISONS = "<>=+≤≥±×÷"

_CODE_POINTS = 0x110000
_UNCHANGED = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0x20000, 0x2F800), (0x2FA20, 0x323B0))
#: Hangul syllables fold to themselves; surrogates and private use separate, as nothing else does, without a look.
_HANGUL = (0xAC00, 0xD7A4)
_PLANES_WITH_LETTERS = 0x20000
_COMPATIBILITY_HAN = (0x2F800, 0x2FA20)
#: OpenCC leaves these to the words they stand in; comparison needs one form.
_BY_CONTEXT = {"著": "着", "瞭": "了", "藉": "借", "乾": "干", "麽": "么", "麼": "么", "妳": "你"}
#: Taiwan names of elements that its t2s leaves, or turns into another element (findings/opencc_element_names.sh).
_ELEMENTS = {"矽": "硅", "鎝": "锝", "鎦": "镥", "鋂": "镅", "鈽": "钚", "鉲": "锎", "鑀": "锿", "砈": "砹"}


@cache
def simplified() -> dict[int, int]:
    """Return code point of a traditional character -> that of its simplified form."""
    import opencc  # here, so that a look at the settings does not load a dictionary

    characters = [chr(point) for first, end in _UNCHANGED for point in range(first, end)]
    forms = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    pairs = dict(zip(characters, forms, strict=True)) | _BY_CONTEXT | _ELEMENTS
    return {ord(old): ord(new) for old, new in pairs.items() if old != new and len(new) == 1}


@cache
def folded_points() -> Points:
    """Return the table; shape (0x110000,): the folded code point, SEPARATOR or LONG_WAY."""
    table = np.zeros(_CODE_POINTS, dtype=np.uint32)
    for first, end in (*_UNCHANGED, _HANGUL):
        assigned = np.fromiter((chr(point).isalnum() for point in range(first, end)), dtype=bool)
        table[first:end] = np.arange(first, end, dtype=np.uint32) * assigned
    to_simplified = simplified()
    for point in _looked_at():
        table[point] = _fold(chr(point), to_simplified)
    for old, new in to_simplified.items():
        table[old] = new
    return table


@cache
def is_digit() -> npt.NDArray[np.bool_]:
    """Tell for every code point whether it is a decimal digit; shape (0x110000,)."""
    table = np.zeros(_CODE_POINTS, dtype=bool)
    table[[point for point in _looked_at() if chr(point).isdecimal()]] = True
    return table


def is_han(points: Points) -> npt.NDArray[np.bool_]:
    """Tell which code points are Chinese characters."""
    return (
        ((points >= 0x3400) & (points < 0x4DC0))
        | ((points >= 0x4E00) & (points < 0xA000))
        | ((points >= 0xF900) & (points < 0xFB00))
        | ((points >= 0x20000) & (points < 0x323B0))
    )


def _looked_at() -> list[int]:
    """Return the code points whose folding is worked out one by one."""
    settled = {point for first, end in (*_UNCHANGED, _HANGUL, (0xD800, 0xF900)) for point in range(first, end)}
    return [point for point in (*range(_PLANES_WITH_LETTERS), *range(*_COMPATIBILITY_HAN)) if point not in settled]


def _fold(character: str, to_simplified: dict[int, int]) -> int:
    """Return a character's entry in the table."""
    if ord(character) in DEGREES:
        return DEGREES[ord(character)]
    if unicodedata.category(character).startswith("M") or "\u1100" <= character <= "\u11ff":
        return LONG_WAY
    form = unicodedata.normalize("NFKC", character).casefold()
    words = [part for part in form if part.isalnum() or part in COMPARISONS]
    if not words:
        return {".": POINT, ",": COMMA}.get(form, SEPARATOR)
    if len(form) > 1:
        return LONG_WAY
    return to_simplified.get(ord(words[0]), ord(words[0]))
