"""Where personal data stands in a text, and the text every recognizer reads.

Recognizers read half-width text in which what is already replaced (`[MOBILE]`, `[EMAIL:…]`) is covered by one
character that no pattern matches and no context reaches across. So masking a second time changes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Every type of personal data, the more specific first: where two claim the same characters, the first has them.
ALL_TYPES: tuple[str, ...] = (
    "email",
    "qq",
    "wechat",
    "resident_id",
    "credit_code",
    "imei",
    "bank_card",
    "ip",
    "coordinates",
    "licence_plate",
    "mobile",
    "landline",
    "passport",
    "organisation",
    "address",
    "person_name",
)

#: People of history, public life and fiction: no personal data, yet what to do with them can be said.
PUBLIC_PERSON = "public_person"

#: Stands for characters that are replaced already; ASCII, so that English text stays it.
COVER = "\x1a"

#: Full-width ASCII to ASCII and all dashes to one, one character for one, so that positions stay true.
_HALF_WIDTH = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys("\u3000\u00a0", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
}
_WIDE = re.compile(r"[\uff01-\uff5e\u3000\u00a0\u2010-\u2014\u2212]")
_REPLACED = re.compile(rf"\[(?:{'|'.join(name.upper() for name in (*ALL_TYPES, PUBLIC_PERSON))})(?::[A-Z2-7]+)?\]")


@dataclass(frozen=True, order=True)
class Span:
    """One piece of personal data: text[start:end] is of this type."""

    start: int
    end: int
    type: str


_CHINESE = re.compile(r"[\u4e00-\u9fff]")


def has_chinese(plain: str) -> bool:
    """Tell whether there are Chinese characters in a text."""
    return not plain.isascii() and bool(_CHINESE.search(plain))


def half_width(text: str) -> str:
    """Return `text` with full-width ASCII as ASCII, as long as before."""
    if not text.isascii():
        # A text has a handful of different ones; `translate` would ask for every character.
        for wide in set(_WIDE.findall(text)):
            text = text.replace(wide, _HALF_WIDTH[wide])
    return text


def readable(text: str) -> str:
    """Return what recognizers read: half-width, as long as `text`, with earlier replacements covered."""
    if "[" not in text:
        return half_width(text)
    return half_width(_REPLACED.sub(lambda match: COVER * len(match[0]), text))


def covered(plain: str, spans: Sequence[Span]) -> str:
    """Return readable text with these spans covered."""
    return _rebuilt(plain, spans, [COVER * (span.end - span.start) for span in spans])


def replace_spans(text: str, spans: Sequence[Span], labels: Sequence[str] | None = None) -> str:
    """Return `text` with each span replaced by its label, `[TYPE]` unless given; spans in order."""
    return _rebuilt(text, spans, labels or [f"[{span.type.upper()}]" for span in spans])


def _rebuilt(text: str, spans: Sequence[Span], pieces: Sequence[str]) -> str:
    """Return `text` with each span replaced by its piece."""
    parts, position = [], 0
    for span, piece in zip(spans, pieces, strict=True):
        parts += [text[position : span.start], piece]
        position = span.end
    return "".join([*parts, text[position:]])
