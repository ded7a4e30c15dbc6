"""What two texts have in common whatever their width, case, punctuation and spacing; their language; damage to them."""

import re
import unicodedata

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?:[^\w<>=+≤≥±×÷]|_)+(?=\d)")
_SEPARATING = re.compile(r"[^\w<>=+≤≥±×÷\x00\x01]|_")
_KEPT_POINT, _KEPT_GAP = "\x00", "\x01"

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")
_LETTER = re.compile(r"[^\W\d_]")

#: Fewer damaged characters than this prove nothing: short strings can be valid in two encodings by chance.
_MOJIBAKE_CHARACTERS = 6


def normalize(text: str) -> str:
    """Return text without the differences that do not matter: NFKC, case, punctuation, whitespace.

    Numbers stay apart: `1.5` never becomes `15`, `3-5`, `3～5` and `3 – 5` become one form, `1,000` becomes `1000`.
    Comparison signs stay: `<50` is not `>50`.
    """
    text = unicodedata.normalize("NFKC", text.replace("\x00", "").replace("\x01", "")).casefold()
    text = _THOUSANDS.sub("", text)
    text = _BETWEEN_DIGITS.sub(lambda gap: _KEPT_POINT if gap[0] == "." else _KEPT_GAP, text)
    text = _SEPARATING.sub("", text)
    return text.replace(_KEPT_POINT, ".").replace(_KEPT_GAP, "-")


def language_of(text: str) -> str | None:
    """Return `zh`, `en`, or None where most letters are neither Chinese characters nor Latin.

    A Chinese character counts as much as a Latin word, so Chinese text full of units and names stays Chinese.
    Other languages in Latin letters are not told from English.
    """
    han, words = len(_HAN.findall(text)), _LATIN_WORD.findall(text)
    letters = len(_LETTER.findall(text))
    known = han + sum(map(len, words))
    if letters - known > letters / 2:
        return None
    return "zh" if han and han >= len(words) else "en"


def han_count(text: str) -> int:
    """Return the number of Chinese characters."""
    return len(_HAN.findall(text))


def is_mojibake(text: str) -> bool:
    """Tell whether text was decoded with the wrong encoding on its way here.

    Two signs: the replacement character, and UTF-8 bytes read as GB18030 or Windows-1252 (reading them back works,
    which correct text practically never does).
    """
    if "\ufffd" in text:
        return True
    if sum(character > "\x7f" for character in text) < _MOJIBAKE_CHARACTERS:
        return False
    return any(_reads_back(text, codec) for codec in ("gb18030", "cp1252"))


def _reads_back(text: str, codec: str) -> bool:
    """Tell whether the bytes of `text` in `codec` are UTF-8 of another, shorter text."""
    try:
        return text.encode(codec).decode("utf-8") != text
    except UnicodeError:
        return False
