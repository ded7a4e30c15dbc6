"""What recognizers of numbers share: a pattern that proposes, a check that decides, and what the neighbours say.

Engineering text is the hard part: dose readings, frequencies, dates and standard numbers must stay as they are. The
check is a checksum where the type has one, otherwise the neighbours: units, words for serial numbers, versions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasks.data.privacy.hints import Hint, eleven_digits
from tasks.data.privacy.spans import COVER

# A word boundary that Chinese characters do not hide: `电话13800138000是` has no \b.
START = r"(?<![0-9A-Za-z])(?<!\d\.)(?<![0-9A-Za-z][-_/])"
END = r"(?![0-9A-Za-z])(?!\.\d)(?!-\d)"
CONTEXT_CHARACTERS = 16

#: A number before one of these is a measurement or a count.
UNIT_AFTER = re.compile(
    r"\s*(?:(?:[kKMGTPmuµμn]|x10)?(?:Bq|Sv|Gy|Hz|eV|Ci|Pa|rem|rad|[VWAJNKCFgsm]|bits?|bytes?|[Bb]|Ω)(?![A-Za-z])"
    r"|(?:cp[sm]|counts?|dpm|neutrons?|fissions?|ions?|atoms?|particles?|cycles?|times|pulses?|rpm|yuan|kg)\b"
    r"|[%‰℃°μµΩ×±]|\*|[eE][+-]?\d|贝可|贝克勒尔|希沃特|希弗|戈瑞|居里|伦琴|赫兹|电子伏|[毫微纳兆千吉][希戈居贝赫克瓦伏]"
    r"|次|个|元|米|秒|字节|计数|脉冲|粒子|中子|吨|千克|公斤|帕|瓦|焦耳|摄氏|美元|人民币|人次|倍|比特|毫[秒米]|微[秒米]|纳[秒米])"
)
#: A number after one of these names a thing, a file or a count, not a person's telephone or card.
THING_BEFORE = re.compile(
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
#: `171500-23500=148000`: terms of a sum; numbers that arithmetic is about. A stroke stands between two telephones, too.
_TERM_AFTER = re.compile(
    r"\s*(?:[=≈<>≤≥]|[+*×÷]\s*\d|/\s*\d{1,6}(?!\d)|-\s*\d+\s*=|除以|乘以|是不是[质素]数|是[质素合奇偶]数|的(?:余数|倍数|因数|平方|立方)"
    r"|is (?:divisible|prime|even|odd|an? (?:prime|even|odd|composite|multiple)))"
)
_TERM_BEFORE = re.compile(r"(?:\d\s*[+*×÷=-]|[×÷√])\s*$")


@dataclass(frozen=True)
class Recognizer:
    """A pattern on readable text and the check its matches must pass; group 1 is what gets replaced."""

    type: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool]
    hint: Hint


def recognizer(
    type_: str,
    pattern: str,
    accepts: Callable[[re.Match[str]], bool],
    hint: Hint = eleven_digits,
) -> Recognizer:
    """Return a recognizer that runs on text with its hint: most rows have none, and cost next to nothing."""
    return Recognizer(type_, re.compile(pattern), accepts, hint)


def before(match: re.Match[str], reach: int = CONTEXT_CHARACTERS) -> str:
    """Return the characters before a match, up to what is replaced already."""
    return match.string[max(0, match.start(1) - reach) : match.start(1)].rpartition(COVER)[2]


def after(match: re.Match[str], reach: int = CONTEXT_CHARACTERS) -> str:
    """Return the characters after a match, up to what is replaced already."""
    return match.string[match.end(1) : match.end(1) + reach].partition(COVER)[0]


def digits_of(text: str) -> str:
    """Return a number without what separates its groups."""
    return re.sub(r"[ .()-]", "", text)


def is_nothing_else(match: re.Match[str]) -> bool:
    """Refuse measurements, terms of a sum and the numbers of things."""
    left, right = before(match), after(match)
    if UNIT_AFTER.match(right) or _TERM_AFTER.match(right):
        return False
    return not (THING_BEFORE.search(left) or _TERM_BEFORE.search(left))
