"""Personal data that is a number or has a number's shape: a pattern proposes, a check decides.

Engineering text is the hard part: dose readings, frequencies, dates and standard numbers must stay as they are. The
check is a checksum where the type has one, otherwise the neighbours: units, words for serial numbers, versions.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.data.privacy.checksums import credit_code_valid, luhn_valid, resident_id_valid
from tasks.data.privacy.coordinates import find_coordinates
from tasks.data.privacy.hints import (
    PROVINCES,
    Clues,
    Hint,
    Parts,
    eleven_digits,
    fifteen_digits,
    seven_digits,
    seventeen_digits,
    ten_digits,
    with_at,
    with_colons,
    with_country_code,
    with_document,
    with_dots,
    with_phone_word,
    with_plate,
)
from tasks.data.privacy.spans import COVER, Span

# A word boundary that Chinese characters do not hide: `电话13800138000是` has no \b.
_START = r"(?<![0-9A-Za-z])(?<!\d\.)(?<![0-9A-Za-z][-_/])"
_END = r"(?![0-9A-Za-z])(?!\.\d)(?!-\d)"
_CONTEXT_CHARACTERS = 16

#: A number before one of these is a measurement or a count.
_UNIT_AFTER = re.compile(
    r"\s*(?:(?:[kKMGTPmuµμn]|x10)?(?:Bq|Sv|Gy|Hz|eV|Ci|Pa|rem|rad|[VWAJNKCFgsm]|bits?|bytes?|[Bb]|Ω)(?![A-Za-z])"
    r"|(?:cp[sm]|counts?|dpm|neutrons?|fissions?|ions?|atoms?|particles?|cycles?|times|pulses?|rpm|yuan|kg)\b"
    r"|[%‰℃°μµΩ×±]|\*|[eE][+-]?\d|贝可|贝克勒尔|希沃特|希弗|戈瑞|居里|伦琴|赫兹|电子伏|[毫微纳兆千吉][希戈居贝赫克瓦伏]"
    r"|次|个|元|米|秒|字节|计数|脉冲|粒子|中子|吨|千克|公斤|帕|瓦|焦耳|摄氏|美元|人民币|人次|倍|比特|毫秒|微秒|纳秒)"
)
#: A number after one of these names a thing, a file or a count, not a person's telephone or card.
_THING_BEFORE = re.compile(
    r"(?:序列号|序号|编号|编码|图号|图纸号?|料号|批号|批次号?|型号|位号|件号|工单号?|订单号?|流水号|单号"
    r"|货号|档案号|文件号"
    r"|合同号?|条码|条形码|设备号|仪器号|探测器号|源号|铭牌号?|校准证书号?|证书号|报告号|记录号|计数|读数|示值|累计"
    r"|总数|时间戳|校验和|种子|随机数|样品号|快递单?号?|运单号?|哈希值?|标识符?|出厂号|资产号"
    r"|[Ss]erial(?: [Nn](?:umber|o\.?))?|SERIAL|S/N|SN|P/N|PN|[Dd]rawing(?: [Nn](?:umber|o\.?))?|DWG|[Bb]atch|[Ll]ot"
    r"|[Pp]art(?: [Nn](?:umber|o\.?))?|[Mm]odel|[Oo]rder(?: [Nn](?:umber|o\.?))?|[Ii]nvoice|[Tt]racking|[Tt]imestamp"
    r"|[Cc]ounts?|[Rr]eading|[Cc]hecksum|[Ss]eed|[Aa]sset(?: [Tt]ag)?|[Ii]nstrument(?: ID)?|ISBN|ISSN|DOI|doi|UUID|ID"
    r"|[Cc]ertificate(?: [Nn](?:umber|o\.?))?|[Tt]icket|[Cc]ase(?: [Nn](?:umber|o\.?))?|[Ff]requency|频率|活度|剂量率?)"
    r"[\s:#=为是]{0,4}$"
)
_AREA_CODE = r"(?:10|2\d|[3-9]\d{2})"
_AREA = rf"(?:(?:\+|00)86[ -]?\(?0?{_AREA_CODE}\)?[ -]?|\(0{_AREA_CODE}\)[ -]?|0{_AREA_CODE}[ -]{{0,2}})"
_LOCAL = r"[2-9](?:\d{2,3}[ -]?\d{4}|\d{3}[ -]\d{3})(?:(?:-| ?转 ?| ?分机(?:号)? ?| ?(?:ext\.?|x) ?)\d{1,5})?"
_PHONE_WORD = r"(?:电话|座机|固话|传真|热线|联系方式|[Tt]el(?:ephone)?|TEL|[Pp]hone|PHONE|[Ff]ax|FAX|[Ll]andline)"

#: Dotted numbers after these are versions and sections, not addresses.
_SECTION_BEFORE = re.compile(
    r"(?:版本|固件|软件|程序|驱动|补丁|第|条款?|章节?|小节|附录|图|表|步骤|见|按|[Vv]ersion|[Ss]ection"
    r"|[Cc]lause|[Pp]aragraph"
    r"|[Ff]irmware|[Ss]oftware|[Rr]elease|[Bb]uild|[Cc]hapter|[Ff]igure|[Tt]able|[Aa]ppendix|[Ss]tep|[Dd]river"
    r"|[Rr]ev(?:ision)?\.?|§|[vV]|OID)\s*(?:号|为|:)?\s*$"
)
_SECTION_AFTER = re.compile(r"\s*(?:条|节|款|章|版|项|小节)")
_VERSION_NEAR = re.compile(
    r"版本|升级|更新|固件|补丁|软件|[Vv]ersion|[Uu]pgrad|[Uu]pdat|[Rr]eplac|[Ff]irmware|[Rr]elease|[Pp]atch"
)
_MACHINE_NEAR = re.compile(
    r"IP|地址|服务器|主机|网关|网络|网段|端口|登录|访问|终端|客户端|来自|DNS|ping|[Hh]ost|[Ss]erver"
    r"|[Cc]onnect|[Aa]ddress"
    r"|[Nn]ode|ssh|http|[Gg]ateway|[Ll]og(?:ged)? ?in|[Cc]lient|from|路由|工作站|电脑|内网|[Ww]orkstation|[Rr]outer"
)
_LARGEST_SECTION = 30

_PLATE_SERIAL = r"(?:[DF][A-HJ-NP-Z0-9]\d{4}|\d{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳])"
_STANDARD_PREFIX = re.compile(r"GB|HA[FD]|EJ|HJ|NB|WS|DL|SL|YY|JJ|TS[GR]|GS[RG]|SS[RG]|ISO|IEC|IAEA|NRC|EPR|ICRP")
_PASSPORT_NEAR = re.compile(
    r"护照|通行证|证件|证照|出境|入境|签证|边检|[Pp]assport|PASSPORT|[Tt]ravel [Dd]ocument|[Vv]isa"
)
_PASSPORT_REACH = 24


@dataclass(frozen=True)
class Recognizer:
    """A pattern on readable text and the check its matches must pass; group 1 is what gets replaced."""

    type: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool]
    hint: Hint


def find_structured(plain: str, types: frozenset[str]) -> Iterator[Span]:
    """Yield what the structured recognizers see in readable text; spans may overlap, the more specific first."""
    if not _ANY_DIGIT(plain) and "@" not in plain:
        return
    clues = Clues(plain)
    places: dict[Hint, Parts] = {}
    for recognizer in RECOGNIZERS:
        if recognizer.type not in types:
            continue
        if recognizer.hint not in places:
            places[recognizer.hint] = recognizer.hint(clues)
        for start, end in places[recognizer.hint]:
            for match in recognizer.pattern.finditer(plain, start, end):
                if recognizer.accepts(match):
                    yield Span(match.start(1), match.end(1), recognizer.type)
    if "coordinates" in types:
        yield from find_coordinates(plain)


def before(match: re.Match[str], reach: int = _CONTEXT_CHARACTERS) -> str:
    """Return the characters before a match, up to what is replaced already."""
    return match.string[max(0, match.start(1) - reach) : match.start(1)].rpartition(COVER)[2]


def after(match: re.Match[str], reach: int = _CONTEXT_CHARACTERS) -> str:
    """Return the characters after a match, up to what is replaced already."""
    return match.string[match.end(1) : match.end(1) + reach].partition(COVER)[0]


def _digits(text: str) -> str:
    """Return a number without what separates its groups."""
    return re.sub(r"[ .()-]", "", text)


def _is_telephone(match: re.Match[str]) -> bool:
    """Refuse measurements and the numbers of things."""
    return not _UNIT_AFTER.match(after(match)) and not _THING_BEFORE.search(before(match))


def _is_bank_card(match: re.Match[str]) -> bool:
    """Check length and Luhn digit; repeated digits are no card."""
    digits = _digits(match[1])
    return 15 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn_valid(digits) and _is_telephone(match)


def _is_credit_code(match: re.Match[str]) -> bool:
    """Check the check character; eighteen digits around a birth date are a mistyped resident number, not a firm."""
    code = _digits(match[1])
    return credit_code_valid(code) and not re.fullmatch(r"\d{6}(?:19|20)\d{2}(?:0\d|1[0-2])[0-3]\d{5}", code)


def _is_ipv4(match: re.Match[str]) -> bool:
    """Refuse version and section numbers, and addresses that name no machine of anyone (unspecified, loopback)."""
    left, right = before(match), after(match)
    if _SECTION_BEFORE.search(left) or _SECTION_AFTER.match(right):
        return False
    version = _VERSION_NEAR.search(before(match, 2 * _CONTEXT_CHARACTERS) + right)
    # `from 1.9.12.79 to` says where packets come from as well as which version is left behind.
    if version and not _MACHINE_NEAR.search((left + right).replace("from", "")):
        return False
    parts = [int(part) for part in match[1].split(".")]
    # Four small numbers are a section or a version unless something says machine; 10.x is the private network.
    if parts[0] != 10 and all(part <= _LARGEST_SECTION for part in parts) and not _MACHINE_NEAR.search(left + right):
        return False
    heading = (not left or left.endswith("\n")) and re.match(r"[ \t]+[A-Za-z\u4e00-\u9fff]", right)
    if heading and all(part <= _LARGEST_SECTION for part in parts):
        return False
    return _names_a_machine(match[1])


def _names_a_machine(address: str) -> bool:
    """Tell whether text is a valid IP address other than the unspecified one, loopback and masks of subnets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_loopback or address.startswith("255."))


def _is_plate(match: re.Match[str]) -> bool:
    """Refuse standard numbers after a word that ends like a province: 最新GB 18871."""
    serial = re.sub(r"[·•. -]", "", match[1][1:])
    if match[1][0] == "新" and before(match, 1) in tuple("最更全重创"):
        return False
    return not _STANDARD_PREFIX.match(serial) and sum(character.isdigit() for character in serial) >= 2


def _is_passport(match: re.Match[str]) -> bool:
    """Ask for a word for the document: a letter and eight digits are any serial number."""
    near = before(match, _PASSPORT_REACH) + "\n" + after(match, 8)
    return bool(_PASSPORT_NEAR.search(near)) and not _UNIT_AFTER.match(after(match))


# Begins with a plain set of characters: the search then skips everything else at the speed of memory.
_ANY_DIGIT = re.compile(r"[0-9]").search


def _recognizer(
    type_: str,
    pattern: str,
    accepts: Callable[[re.Match[str]], bool],
    hint: Hint = eleven_digits,
) -> Recognizer:
    """Return a recognizer that runs on text with its hint: most rows have none, and cost next to nothing."""
    return Recognizer(type_, re.compile(pattern), accepts, hint)


RECOGNIZERS: tuple[Recognizer, ...] = (
    _recognizer(
        "email",
        r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9@])",
        lambda match: not match[1].startswith("git@"),
        with_at,
    ),
    _recognizer(
        "resident_id",
        # A lookahead, so that a digit group before the number does not swallow its beginning.
        r"(?<![0-9.])(?=([1-9](?:[ -]?\d){16}[ -]?[0-9Xx])" + _END + ")",
        lambda match: resident_id_valid(_digits(match[1])),
        seventeen_digits,
    ),
    _recognizer(
        "credit_code",
        r"(?<![0-9A-Za-z])(?=([0-9A-Ya-y]{2}[ -]?\d{6}[ -]?[0-9A-Za-z]{4}[ -]?[0-9A-Za-z]{4,5}[ -]?[0-9A-Za-z]{1,2})"
        r"(?![0-9A-Za-z]))",
        _is_credit_code,
        seven_digits,
    ),
    _recognizer(
        "bank_card",
        _START + r"([3-69]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?)" + _END,
        _is_bank_card,
        fifteen_digits,
    ),
    _recognizer("bank_card", _START + r"([3-69]\d{5}[ -]?\d{9,13})" + _END, _is_bank_card, fifteen_digits),
    _recognizer(
        "bank_card",
        _START + r"(3[47]\d{2}[ -]?\d{6}[ -]?\d{5})" + _END,
        _is_bank_card,
        fifteen_digits,
    ),
    _recognizer(
        "ip",
        r"(?<![0-9A-Za-z.])(?<![0-9A-Za-z]-)((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))"
        r"(?![0-9A-Za-z])(?!\.\d)",
        _is_ipv4,
        with_dots,
    ),
    _recognizer(
        "ip",
        # Eight groups may be followed by a port.
        r"(?<![0-9A-Za-z:.])((?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?=:[0-9]{2,5}(?![0-9A-Za-z:]))"
        r"|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])(?!\.[0-9A-Za-z]))",
        lambda match: _names_a_machine(match[1]),
        with_colons,
    ),
    _recognizer(
        "licence_plate",
        rf"([{PROVINCES}] ?[A-HJ-NP-Z][·•. -]{{0,2}}{_PLATE_SERIAL})(?![0-9A-Za-z])",
        _is_plate,
        with_plate,
    ),
    _recognizer(
        "mobile",
        r"(?:(?<![0-9A-Za-z.])(?<![0-9A-Za-z][-_/])|(?<=[Tt]el)|(?<=[Pp]hone)|(?<=[Mm]obile)|(?<=TEL)|(?<=MOB))"
        r"((?:\(?(?:\+|00)?86\)?[ -]?)?1[3-9]\d"
        r"(?:\d{8}|[ .-]\d{4}[ .-]\d{4}|\d[ -]\d{3}[ -]\d{4}|\d{4}[ -]\d{4}|[ -]\d{8}"
        r"|\d{3}[ -]\d{5}|\d{2}[ -]\d{6}))" + _END,
        _is_telephone,
    ),
    _recognizer("landline", _START + rf"({_AREA}{_LOCAL})" + _END, _is_telephone, ten_digits),
    _recognizer(
        "landline",
        rf"{_PHONE_WORD}[^0-9A-Za-z\n{COVER}]{{0,6}}({_LOCAL})" + _END,
        _is_telephone,
        with_phone_word,
    ),
    _recognizer(
        "landline",
        _START + r"((?:\+(?!86)[1-9]\d{0,2}[ .-]?)\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,3})" + _END,
        _is_telephone,
        with_country_code,
    ),
    _recognizer(
        "landline",
        rf"{_PHONE_WORD}[^0-9\n{COVER}]{{0,14}}(\(?[2-9]\d{{2}}\)?[ .-]?\d{{3}}[ .-]\d{{4}})" + _END,
        _is_telephone,
        with_phone_word,
    ),
    # The North American and British plans, written as nothing else is.
    _recognizer(
        "landline",
        _START + r"((?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[.-]\d{4}|0(?:1\d{2,3}|2\d) \d{3,4} \d{3,4})" + _END,
        _is_telephone,
        ten_digits,
    ),
    _recognizer("mobile", _START + r"((?:\+44 ?|0)7\d{3} ?\d{3} ?\d{3})" + _END, _is_telephone),
    _recognizer(
        "passport",
        _START + r"([EGDSPHM]\d{8}|E[A-HJ-NP-Z]\d{7}|[A-Z]{1,2}\d{6,8}|[HM]\d{10}|(?<=[号码:. ])\d{9})(?![0-9A-Za-z])",
        _is_passport,
        with_document,
    ),
)
