"""Personal data out of text: Chinese and English, next to Chinese characters, full-width digits included.

Engineering text is the hard part: dose readings, frequencies, dates and standard numbers must stay as they are.
Candidates come from a pattern; a check (checksum, address range, neighbours) decides.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

#: Full-width ASCII to ASCII, one character for one, so that positions stay true.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: 0x20,
    0x2010: 0x2D,
    0x2011: 0x2D,
    0x2012: 0x2D,
    0x2013: 0x2D,
    0x2014: 0x2D,
}

# A word boundary that Chinese characters do not hide: `电话13800138000是` has no \b.
_START = r"(?<![0-9A-Za-z])(?<!\d\.)(?<![0-9A-Za-z][-_])"
_END = r"(?![0-9A-Za-z])(?!\.\d)"

#: A number before one of these is a measurement.
_UNIT_AFTER = re.compile(
    r"\s*(?:[kKMGTPmuµμnp]?(?:Bq|Sv|Gy|Hz|eV|Ci|Pa|rem|rad)(?![a-z])|cp[sm]\b|counts?\b|dpm\b|neutrons?\b|fissions?\b"
    r"|[%℃°]|贝可|贝克勒尔|希沃特|希弗|戈瑞|居里|伦琴|赫兹|电子伏|[毫微纳兆千][希戈居贝赫克]|次/|个/)"
)
_AREA_CODE = r"(?:10|2\d|[3-9]\d{2})"
_AREA = rf"(?:(?:\+|00)86[ -]?\(?0?{_AREA_CODE}\)?[ -]?|\(0{_AREA_CODE}\)[ -]?|0{_AREA_CODE}[ -]?)"
_LOCAL = r"[2-9]\d{2,3}[ -]?\d{4}(?:(?:-|转)\d{1,5})?"
_PHONE_WORD = r"(?:电话|座机|传真|热线|[Tt]el(?:ephone)?|TEL|[Pp]hone|[Ff]ax|FAX)"

#: Dotted numbers after these are versions and sections, not addresses.
_SECTION_BEFORE = re.compile(
    r"(?:版本|第|条款?|[Vv]ersion|[Ss]ection|[Cc]lause|[Pp]aragraph|[Rr]ev\.?|§|[vV])\s*(?:号|为|:)?\s*$"
)
_CONTEXT_CHARACTERS = 16
_LARGEST_SECTION = 30

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECK = "10X98765432"

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE_SERIAL = r"(?:[DF][A-HJ-NP-Z0-9]\d{4}|\d{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳])"
_STANDARD_PREFIX = re.compile(r"GB|HA[FD]|EJ|HJ|NB|WS|DL|SL|YY|JJ|TS[GR]|GS[RG]|SS[RG]|ISO|IEC|IAEA|NRC|EPR|ICRP")


@dataclass(frozen=True, order=True)
class Span:
    """One piece of personal data: text[start:end] is of this type."""

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class _Recognizer:
    """A pattern on half-width text and the check its matches must pass."""

    type: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool]


def resident_id_check(first17: str) -> str:
    """Return the check character of a resident identity number.

    Source: GB 11643-1999, ISO 7064 MOD 11-2.
    """
    return _RESIDENT_CHECK[
        sum(int(digit) * weight for digit, weight in zip(first17, _RESIDENT_WEIGHTS, strict=True)) % 11
    ]


def luhn_valid(digits: str) -> bool:
    """Tell whether the last digit of a card number checks the others.

    Source: ISO/IEC 7812-1 annex B (Luhn).
    """
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def find_spans(text: str, types: Sequence[str]) -> list[Span]:
    """Return the personal data of these types in `text`, in order, without overlaps.

    Where two types claim the same characters, the more specific one (`RECOGNIZERS` order) has them.
    """
    plain = text.translate(_HALF_WIDTH)
    found: list[Span] = []
    # What stood glued to personal data can be recognized once that is out of the way.
    while more := _one_pass(plain, types):
        found += more
        for span in more:
            cover = "[" + "X" * (span.end - span.start - 2) + "]"
            plain = plain[: span.start] + cover + plain[span.end :]
    return sorted(found)


def _one_pass(plain: str, types: Sequence[str]) -> list[Span]:
    """Return the personal data that every recognizer sees in half-width text."""
    found: list[Span] = []
    for recognizer in RECOGNIZERS:
        if recognizer.type not in types:
            continue
        for match in recognizer.pattern.finditer(plain):
            span = Span(match.start(1), match.end(1), recognizer.type)
            free = all(span.end <= other.start or other.end <= span.start for other in found)
            if free and recognizer.accepts(match):
                found.append(span)
    return found


def mask_text(text: str, types: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Replace personal data of these types by `[TYPE]` and count what was replaced.

    Masking twice changes nothing more.
    """
    spans = find_spans(text, types)
    return replace_spans(text, spans), dict(Counter(span.type for span in spans))


def replace_spans(text: str, spans: Sequence[Span]) -> str:
    """Return `text` with each span replaced by the name of its type."""
    pieces, position = [], 0
    for span in spans:
        pieces += [text[position : span.start], f"[{span.type.upper()}]"]
        position = span.end
    return "".join([*pieces, text[position:]])


def _no_unit(match: re.Match[str]) -> bool:
    """Tell whether the match is followed by no unit of measurement."""
    return not _UNIT_AFTER.match(match.string, match.end(1))


def _is_resident_id(match: re.Match[str]) -> bool:
    """Check birth date and check character."""
    number = re.sub(r"[ -]", "", match[1])
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return resident_id_check(number[:17]) == number[17].upper()


def _is_bank_card(match: re.Match[str]) -> bool:
    """Check length and Luhn digit; repeated digits are no card."""
    digits = re.sub(r"[ -]", "", match[1])
    return 15 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn_valid(digits) and _no_unit(match)


def _is_ipv4(match: re.Match[str]) -> bool:
    """Refuse version and section numbers, and addresses that name no machine of anyone (unspecified, loopback)."""
    before = match.string[max(0, match.start(1) - _CONTEXT_CHARACTERS) : match.start(1)]
    after = match.string[match.end(1) : match.end(1) + _CONTEXT_CHARACTERS]
    if _SECTION_BEFORE.search(before) or re.match(r"\s*(?:条|节|款|章|版)", after):
        return False
    heading = (not before or before.endswith("\n")) and re.match(r"[ \t]+[A-Za-z\u4e00-\u9fff]", after)
    if heading and all(int(part) <= _LARGEST_SECTION for part in match[1].split(".")):
        return False
    return _names_a_machine(match[1])


def _names_a_machine(address: str) -> bool:
    """Tell whether text is a valid IP address other than the unspecified one and loopback."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_loopback)


def _is_plate(match: re.Match[str]) -> bool:
    """Refuse standard numbers after a word that ends like a province: 最新GB 18871."""
    serial = match[1][1:].replace("·", "").replace("•", "")
    return not _STANDARD_PREFIX.match(serial.strip()) and any(character.isdigit() for character in serial)


def _recognizer(type_: str, pattern: str, accepts: Callable[[re.Match[str]], bool]) -> _Recognizer:
    """Return a recognizer; group 1 of the pattern is what gets replaced."""
    return _Recognizer(type_, re.compile(pattern), accepts)


RECOGNIZERS: tuple[_Recognizer, ...] = (
    _recognizer(
        "email",
        r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9@])",
        lambda match: True,
    ),
    _recognizer(
        "resident_id",
        r"(?<!\d)([1-9]\d{5}[ -]?(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[0-9Xx])" + _END,
        _is_resident_id,
    ),
    _recognizer("bank_card", _START + r"([3-69]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?)" + _END, _is_bank_card),
    _recognizer("bank_card", _START + r"([3-69]\d{5}[ -]?\d{9,13})" + _END, _is_bank_card),
    _recognizer(
        "ip",
        r"(?<![0-9A-Za-z.])(?<![0-9A-Za-z]-)((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))"
        r"(?![0-9A-Za-z])(?!\.\d)",
        _is_ipv4,
    ),
    _recognizer(
        "ip",
        r"(?<![0-9A-Za-z:.])((?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![0-9A-Za-z:.])",
        lambda match: _names_a_machine(match[1]),
    ),
    _recognizer("licence_plate", rf"([{_PROVINCES}][A-HJ-NP-Z][·• -]?{_PLATE_SERIAL})(?![0-9A-Za-z])", _is_plate),
    _recognizer(
        "mobile",
        r"(?:(?<![0-9A-Za-z.])(?<![0-9A-Za-z][-_])|(?<=[Tt]el)|(?<=[Pp]hone)|(?<=[Mm]obile))"
        r"((?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:\d{8}|[ -]\d{4}[ -]\d{4}))" + _END,
        _no_unit,
    ),
    _recognizer("landline", _START + rf"({_AREA}{_LOCAL})" + _END, _no_unit),
    _recognizer("landline", rf"{_PHONE_WORD}[^0-9A-Za-z\n]{{0,6}}({_LOCAL})" + _END, _no_unit),
)

#: Every type there is a recognizer for.
ALL_TYPES: tuple[str, ...] = tuple(dict.fromkeys(recognizer.type for recognizer in RECOGNIZERS))
