"""Where in a text a recognizer of structured data can find something: its pattern runs there and nowhere else."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

Parts = list[tuple[int, int]]

#: A pattern may begin this far before the digits that hint at it (a word for telephones), and end this far after.
_MARGIN = 32
#: Begins with a plain set of characters: the search then skips everything else at the speed of memory.
_NUMBER = re.compile(r"[0-9](?<![0-9][0-9])[0-9 ().-]{4,}[0-9]")
_GROUPING = str.maketrans("", "", " ().-")
DOCUMENTS = ("护照", "通行证", "证件", "证照", "出境", "入境", "签证", "边检", "assport", "ASSPORT", "ocument", "isa")
_IDENTITY = ("HKID", "dentity")
_CHINESE_IDENTITY = ("身份证", "身份證", "身分證", "证件号", "證件號", "身份号", "香港", "港澳")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]")
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IN_COLONS = frozenset("0123456789ABCDEFabcdef:")
#: Characters behind eight numbers that say whether they are an address.
_BEHIND_COLONS = 3
_PHONE_WORDS = ("el", "EL", "hone", "HONE", "ax", "AX", "andline", "obile", "App", "app")
_CHINESE_PHONE_WORDS = (
    "电话", "電話", "座机", "固话", "市话", "市話", "传真", "傳真", "热线", "联系方式", "聯絡方式",
    "手机", "手機", "致电", "致電",
    "撥打", "拨打",
)  # fmt: skip
PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE_HINT = re.compile(rf"[{PROVINCES}] ?[A-HJ-NP-Z][·•. -]{{0,2}}[A-Z0-9]{{4}}")


class Clues:
    """Where the numbers of a text stand, looked for once.

    Args:
        plain: readable text.
    """

    def __init__(self, plain: str) -> None:
        self.plain = plain

    @cached_property
    def numbers(self) -> list[tuple[int, int, int]]:
        """Place and number of digits of each number of six characters and more, grouped digits as one."""
        found = _NUMBER.finditer(self.plain)
        return [(match.start(), match.end(), len(match[0].translate(_GROUPING))) for match in found]

    @cached_property
    def _longest(self) -> int:
        """The most digits of a number."""
        return max([digits for _, _, digits in self.numbers], default=0)

    def with_digits(self, least: int) -> Parts:
        """Return where there are numbers of so many digits at least."""
        if least > self._longest:
            return []
        return around((start, end) for start, end, digits in self.numbers if digits >= least)

    def holds(self, words: Sequence[str], chinese: Sequence[str]) -> bool:
        """Tell whether one of these words is in the text; Chinese ones are not looked for in ASCII."""
        plain = self.plain
        for word in words:
            if word in plain:
                return True
        return not plain.isascii() and any(word in plain for word in chinese)

    @property
    def whole(self) -> Parts:
        """The whole text."""
        return [(0, len(self.plain))]


#: Where in a text a recognizer can find something: its pattern runs there and nowhere else.
Hint = Callable[[Clues], Parts]


def around(places: Iterable[tuple[int, int]]) -> Parts:
    """Return the parts of a text around places in order, joined where they touch."""
    parts: Parts = []
    for place in places:
        start, end = max(0, place[0] - _MARGIN), place[1] + _MARGIN
        if parts and start <= parts[-1][1]:
            parts[-1] = parts[-1][0], end
        else:
            parts.append((start, end))
    return parts


def seven_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a local telephone's length."""
    return clues.with_digits(7)


def ten_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a telephone's length, area code and all."""
    return clues.with_digits(10)


def eleven_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a mobile telephone's length."""
    return clues.with_digits(11)


def twelve_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a bank account's length."""
    return clues.with_digits(12)


def fifteen_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a card's length."""
    return clues.with_digits(15)


def seventeen_digits(clues: Clues) -> Parts:
    """Return where there are numbers of a resident's length; the last character may be a letter."""
    return clues.with_digits(17)


def with_phone_word(clues: Clues) -> Parts:
    """Return where there are numbers of a telephone's length, if there is a word for telephones."""
    parts = clues.with_digits(7)
    return parts if parts and clues.holds(_PHONE_WORDS, _CHINESE_PHONE_WORDS) else []


def with_country_code(clues: Clues) -> Parts:
    """Return where there may be a number of another country."""
    return clues.with_digits(7) if "+" in clues.plain or "00" in clues.plain else []


def with_document(clues: Clues) -> Parts:
    """Return where there may be a passport number."""
    plain = clues.plain
    return clues.with_digits(6) if clues.numbers and any(word in plain for word in DOCUMENTS) else []


def with_identity(clues: Clues) -> Parts:
    """Return where there may be the number of an identity card of Hong Kong or Taiwan."""
    return clues.with_digits(6) if clues.numbers and clues.holds(_IDENTITY, _CHINESE_IDENTITY) else []


def with_at(clues: Clues) -> Parts:
    """Return where there may be an address of e-mail."""
    return clues.whole if "@" in clues.plain else []


def with_dots(clues: Clues) -> Parts:
    """Return where there may be an address of the internet in four numbers."""
    plain = clues.plain
    return around((start, end) for start, end, _ in clues.numbers if plain.count(".", start, end) >= 3)


def with_colons(clues: Clues) -> Parts:
    """Return where there may be an address of the internet in eight numbers: from its first digit or colon on."""
    plain, parts = clues.plain, Parts()
    for match in _TWO_COLONS.finditer(plain) if _COLONS.search(plain) else ():
        start, end = match.span()
        while start and plain[start - 1] in _IN_COLONS:
            start -= 1
        while end < len(plain) and plain[end] in _IN_COLONS:
            end += 1
        if parts and start <= parts[-1][1]:
            start = parts.pop()[0]
        parts.append((start, end + _BEHIND_COLONS))
    return parts


def with_plate(clues: Clues) -> Parts:
    """Return where there may be a licence plate."""
    plain = clues.plain
    return clues.whole if not plain.isascii() and _PLATE_HINT.search(plain) else []
