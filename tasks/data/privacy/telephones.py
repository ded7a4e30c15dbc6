"""Telephone numbers: of the mainland, Hong Kong, Macau and Taiwan, and those written with a country code (E.164)."""

import re

from tasks.data.privacy.hints import (
    eleven_digits,
    seven_digits,
    ten_digits,
    with_country_code,
    with_phone_word,
)
from tasks.data.privacy.recognizer import END, START, Recognizer, before, digits_of, is_nothing_else, recognizer
from tasks.data.privacy.spans import COVER

_AREA_CODE = r"(?:10|2\d|[3-9]\d{2})"
_AREA = rf"(?:(?:\+|00)86[ -]?\(?0?{_AREA_CODE}\)?[ -]?|\(0{_AREA_CODE}\)[ -]?|0{_AREA_CODE}[ -]{{0,2}})"
_LOCAL = r"[2-9](?:\d{2,3}[ -]?\d{4}|\d{3}[ -]\d{3})(?:(?:-| ?转 ?| ?分机(?:号)? ?| ?(?:ext\.?|x) ?)\d{1,5})?"
_PHONE_WORD = (
    r"(?:电话|電話|座机|固话|市话|市話|传真|傳真|热线|联系方式|聯絡方式|手机|手機|致电|致電|撥打|拨打"
    r"|[Tt]el(?:ephone)?|TEL|[Pp]hone|PHONE|[Ff]ax|FAX|[Ll]andline|[Mm]obile|[Ww]hats[Aa]pp)"
)
#: Numbers anybody may call: of services, not of persons. 400 and 800 belong to firms, 1-8xx to them in North America.
_SERVICE = re.compile(
    r"(?:\+1[ .-]?|1[ .-])?\(?8(?:00|33|44|55|66|77|88)\)?[ .-]?\d{3}[ .-]?\d{4}|\(?[48]00\)?(?:[ .-]?\d){7}"
)
_GREATER_CHINA = r"(?:\((?:\+|00)?85[23]\)|(?:\+|(?<![0-9])00)85[23]|(?<![0-9A-Za-z+])85[23](?=[ -]))[ -]?"
_EIGHT = r"[2-9]\d{3}[ -]?\d{4}"
_TAIWAN = r"(?:(?:\+|(?<![0-9])00)886|\((?:\+|00)?886\)|(?<![0-9A-Za-z+])886(?=[ -]))[ -]?"
#: A name or a word glued to a number: Kevin13912345678, 13912345678fax. Serial numbers come after capitals (SN139...),
#: hexadecimal ones go on with digits.
_GLUED_START = (
    r"(?:(?<![0-9A-Za-z.])(?<![0-9A-Za-z][-_])(?<![A-Za-z]/)|(?<=[A-Za-z][a-z]{2})|(?<=TEL)|(?<=MOB)|(?<=QQ)|(?<=FAX))"
)
_GLUED_END = r"(?=(?:QQ|qq|[Vv][Xx]|[Ww][Xx]|FAX|[A-Za-z]{3,})(?![A-Za-z_]))(?![A-Za-z]{3,}[0-9])"
_GLUED_WORD = re.compile(r"([A-Za-z]+)$")
#: Codes of countries and territories of one digit, of two, and the first two of three.
#: Source: ITU-T E.164, list of assigned country codes.
_COUNTRY = re.compile(
    r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-689]\d|3[578]\d|42\d|5[09]\d|6[7-9]\d|8[0578]\d|9[679]\d)"
)


def _is_telephone(match: re.Match[str]) -> bool:
    """Refuse the numbers of things and of public services."""
    return not _SERVICE.fullmatch(match[1]) and is_nothing_else(match)


def _is_glued(match: re.Match[str]) -> bool:
    """Tell whether a mobile number stands alone or glued to a word that names nothing but a person."""
    word = _GLUED_WORD.search(before(match))
    plain = not word or (
        len(set(word[1].casefold())) > 1 and not word[1].casefold().startswith(("id", "order", "batch"))
    )
    return plain and _is_telephone(match)


def _is_international(match: re.Match[str]) -> bool:
    """Check country code and length of a number with its plus sign."""
    digits = digits_of(match[1]).removeprefix("+").removeprefix("00")
    if digits[0] in "17" and len(digits) != 11:
        return False
    return 8 <= len(digits) <= 15 and bool(_COUNTRY.match(digits)) and _is_telephone(match)


TELEPHONES: tuple[Recognizer, ...] = (
    recognizer(
        "mobile",
        _GLUED_START + r"((?:\(?(?:\+|00)?86\)?[ -]?)?1[3-9]\d"
        r"(?:\d{8}|[ .-]\d{4}[ .-]\d{4}|\d[ -]\d{3}[ -]\d{4}|\d{4}[ -]\d{4}|[ -]\d{8}"
        r"|\d{3}[ -]\d{5}|\d{2}[ -]\d{6}))" + END,
        _is_glued,
    ),
    recognizer("mobile", _GLUED_START + r"(1[3-9]\d{9})" + _GLUED_END, _is_glued),
    recognizer("mobile", rf"({_GREATER_CHINA}{_EIGHT})" + END, _is_telephone, ten_digits),
    recognizer("mobile", rf"({_TAIWAN}0?9\d{{2}}[ -]?\d{{3}}[ -]?\d{{3}})" + END, _is_telephone, ten_digits),
    recognizer(
        "mobile", START + r"(09\d{2}(?:-\d{3}-\d{3}|-\d{6}| \d{3} \d{3}|\d{6}))" + END, _is_telephone, ten_digits
    ),
    recognizer("landline", rf"({_TAIWAN}\(?0?[2-8]\d?\)?[ -]?\d{{3,4}}[ -]?\d{{4}})" + END, _is_telephone, ten_digits),
    recognizer(
        "landline",
        START + r"((?:\(0[2-8]\d?\)[ ]?|0[2-8]-)\d{3,4}[ -]?\d{4}(?:#\d{1,5})?)" + END,
        _is_telephone,
        seven_digits,
    ),
    # Not the end of an account in groups of four: 1302 0105 0902 4567 890.
    recognizer("landline", START + rf"(?<!\d{{4}} )({_AREA}{_LOCAL})" + END, _is_telephone, ten_digits),
    recognizer(
        "landline",
        rf"{_PHONE_WORD}[^0-9A-Za-z\n{COVER}]{{0,6}}({_LOCAL})" + END,
        _is_telephone,
        with_phone_word,
    ),
    recognizer("mobile", START + r"((?:\+44 ?|0)7\d{3} ?\d{3} ?\d{3})" + END, _is_telephone, eleven_digits),
    recognizer(
        "landline",
        r"(?<![0-9A-Za-z])((?:\+(?!86)|(?<![0-9A-Za-z])00(?=44|1[2-9]|8[12]|6[0156]|49|33|39|7[0-9]|91))"
        r"[1-9](?:[ .-]{0,1}\(?\d\)?){7,14}(?<=\d))" + END,
        _is_international,
        with_country_code,
    ),
    recognizer(
        "landline",
        rf"{_PHONE_WORD}[^0-9\n{COVER}]{{0,14}}?(\(?[2-9]\d{{2}}\)?[ .-]?\d{{3}}[ .-]\d{{4}})" + END,
        _is_telephone,
        with_phone_word,
    ),
    # The North American and British plans, written as nothing else is.
    recognizer(
        "landline",
        START
        + r"(?<!\d{4} )((?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[.-]\d{4}|0(?:1\d{2,3}|2\d) \d{3,4} \d{3,4})"
        + END,
        _is_telephone,
        ten_digits,
    ),
)
