"""Postal addresses that lead to a door: a street with a number, an estate with a building, a village with a group.

Provinces, cities and districts alone are places, and rooms, gates and loops of a plant have numbers too (3号机组,
一回路2号泵): the anchor is the street, estate or village word with its number; what stands before it is read leftwards.
"""

import re
from collections.abc import Iterator

from tasks.data.privacy.spans import COVER, Span

_H = r"\u4e00-\u9fff"
_NUMBER = r"(?:[0-9]{1,5}(?:-[0-9]{1,4})?[A-Za-z]?|[一二三四五六七八九十百零〇两]{1,4}|[甲乙丙丁][0-9]{1,4}|[0-9]{1,4}[甲乙丙丁]|[A-Za-z][0-9]{0,3})"
_STREET = r"(?:大道|大街|胡同|新村|支路|环路|中路|东路|西路|南路|北路|马路|公路|街道|路|街|巷|弄|里|道|坊|条|段)"
_ESTATE = r"(?:小区|花园|家园|公寓|新村|社区|花苑|苑|名邸|华庭|庭院|山庄|别墅|大厦|广场|中心|宿舍|家属院|大院|公馆|府邸|府|城|园|居|湾|里|庄|轩|楼|阁|坊)"
_PARTS = rf"(?:[ ]?(?:{_NUMBER}[ ]?(?:号楼|号院|号|幢|栋|座|楼|层|单元|室|户|房|门|弄|组|排|F)|{_NUMBER}室?(?![0-9A-Za-z{_H}])))"
#: 文三路138号3幢2单元501室
_AT_STREET = re.compile(
    rf"(?<=[{_H}]){_STREET}(?:[东西南北中]?段)?[ ]?{_NUMBER}[ ]?(?:号楼|号院|号|弄|幢|栋|巷)(?:[{_H}]{{2,8}}?{_ESTATE})?{_PARTS}{{0,5}}"
)
#: 阳光花园3栋2单元501室
_AT_ESTATE = re.compile(
    rf"(?<=[{_H}]){_ESTATE}[ ]?(?:[东西南北]区)?[ ]?{_NUMBER}[ ]?(?:号楼|栋|幢|座|单元|号)[ ]?{_PARTS}{{1,5}}"
)
#: 秦山镇杨柳村3组12号
_AT_VILLAGE = re.compile(
    rf"(?<=[{_H}])(?:村|屯|庄|寨|社区|大队|居委会)[ ]?{_NUMBER}[ ]?(?:组|队|社|号|屯)(?:[ ]?{_NUMBER}[ ]?(?:号|户|室))?"
)
_ADMINISTRATIVE = re.compile(
    rf"[{_H}]{{2,9}}?(?:特别行政区|自治[区州县]|省|市|地区|盟|州|区|县|旗|镇|乡|街道|开发区|新区|苏木|村)"
)
_HINT = re.compile(r"[号室栋幢弄组队]|邮编|邮政编码|住址|地址")
#: What may stand before the first place name and is no part of it.
_LEAD = re.compile(
    r"(?:家庭住址|家庭地址|通讯地址|联系地址|收货地址|收件地址|邮寄地址|户籍地址|户籍地|户籍|现住址|居住地址|居住地|常住地|所在地|住所地|详细地址|注册地址|办公地址|寄送地址|住址|地址|住所|籍贯|位于|坐落于|坐落在"
    r"|居住在|居住于|现居住?|家住在?|住在|住于|住进|租住在?|租住于|搬到了?|搬至|迁至|迁到|迁往|寄到|寄往|寄至|送到|送至|送往|快递到|邮寄到|邮寄至|邮寄|发往|发到|赶到|赶往|前往|到达|抵达|来自|设在|安置在|安置于|安置到"
    r"|转移到|转移至|撤离到|搬家到|上门到|上门|登记为|登记在|填写为|填写的|变更为|改为|写着|写的是|在于|在|到|至|于|是|为|从|自|由|往|去|向|住|和|与|及|或|的|了|其|他|她|我|您|你|家|请|寄|送)"
)
#: Loops, lines and mains of a plant end like streets.
_PLANT_STREET = re.compile(
    r"(?:回|管|线|电|通|支|旁|油|气|水|思|网|套|断|开|短|环|并|串|铁|轨|信|光|多|单|双|一|二|三|进|出|公|道|过|隧|航|跑|频|轨|渠|管|赛|车|轨|门|味|报|夹|这|那|哪|同|半|上|下|沿|走|马|条|阶|时|手|字|片|分|地|国|首|古|这|阶|波|河)$"
)
_PLANT_AFTER = re.compile(
    r"[ ]?(?:机组|泵|阀|堆|柜|线|机|炉|井|罐|箱|桩|风机|反应堆|管|通道|出口|入口|测点|点位|探头|监测|样|站|母线|变压器|屏|盘|仪|缸)"
)
_POSTCODE = re.compile(
    r"(?:邮编|邮政编码|[Pp]ost(?:al)? ?[Cc]ode|[Zz]ip(?: [Cc]ode)?)[ ]?[:是为]?[ ]{0,2}([0-9]{6}|[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2})(?![0-9A-Za-z])"
)
#: 地址：… up to the end of the clause, where it names three places or more without a door.
_FIELD = re.compile(
    rf"(?:住址|地址|住所|居住地|家住|住在)[ ]?[:为是在]?[ ]{{0,2}}((?:[{_H}]{{2,9}}?(?:省|自治区|市|州|区|县|旗|镇|乡|街道|村|社区|小区|路|街|巷|苑|花园|公寓|屯)){{2,7}})(?=[,.;!?、)\s]|$|[。，；！？）])"
)
_LEFT_REACH = 40

_STREET_WORD = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Way|Place|Pl|Square|Sq|Close|Crescent|Terrace|Parkway|Pkwy"
    r"|Highway|Hwy|Circle|Alley|Row|Grove|Gardens|Mews|Walk|Hill|Trail)"
)
_UNIT = r"(?:Apt|Apartment|Flat|Unit|Suite|Ste|Room|Rm|Building|Bldg|Block|Floor|House)\.?[ ]?#?[0-9A-Za-z-]{1,6}"
_CITY = r"(?:,[ ](?:[A-Z][A-Za-z'.-]+(?:[ ][A-Z][A-Za-z'.-]+){0,3})){0,4}(?:,?[ ][A-Z]{2})?(?:,?[ ](?:[0-9]{5,6}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][0-9A-Z]?[ ][0-9][A-Z]{2}))?"
_ENGLISH = re.compile(
    rf"(?<![0-9A-Za-z.-])((?:{_UNIT},?[ ]){{0,3}}(?:No\.?[ ]?)?[0-9]{{1,5}}[A-Za-z]?(?:-[0-9]{{1,4}})?,?[ ](?:(?:North|South|East|West|N|S|E|W)\.?[ ])?"
    rf"((?:[A-Z0-9][A-Za-z'’0-9-]*\.?[ ]){{1,4}}?){_STREET_WORD}\b(?:\.(?=,|[ ][A-Z0-9#]|$))?(?:[ ](?:North|South|East|West|NW|NE|SW|SE|N|S|E|W)\b)?(?:,?[ ](?:{_UNIT}|#[ ]?[0-9A-Z]{{1,5}})){{0,3}}{_CITY})"
)
_ENGLISH_HINT = re.compile(rf"[0-9A-Za-z],?[ ][A-Z][A-Za-z'’-]*\.?[ ](?:[A-Z][A-Za-z'’-]*[ ]){{0,3}}{_STREET_WORD}\b")
_BOX = re.compile(r"(?<![A-Za-z])(P\.? ?O\.? ?Box[ ][0-9]{1,6})(?![0-9])")
#: Drives, rows and courts of machines.
_MACHINE = frozenset(
    "control rod motor reactor coolant valve turbine shaft speed hard disk direct variable fuel safety data steam main pump feed gear servo"
    " drum tube first second third fourth each every belt chain bit table matrix usb flash two three four one".split()
)


def find_addresses(plain: str) -> Iterator[Span]:
    """Yield postal addresses in readable text."""
    if _HINT.search(plain):
        yield from _chinese(plain)
    for match in _POSTCODE.finditer(plain) if _POSTCODE_HINT.search(plain) else ():
        yield Span(*match.span(1), "address")
    if _ENGLISH_HINT.search(plain):
        for match in _ENGLISH.finditer(plain):
            if not _MACHINE.intersection(match[2].casefold().split()):
                yield Span(*match.span(1), "address")
    for match in _BOX.finditer(plain) if "Box" in plain else ():
        yield Span(*match.span(1), "address")


_POSTCODE_HINT = re.compile(r"邮编|邮政编码|[Cc]ode|[Zz]ip")


def _chinese(plain: str) -> Iterator[Span]:
    """Yield Chinese addresses."""
    for pattern in (_AT_STREET, _AT_ESTATE, _AT_VILLAGE):
        for match in pattern.finditer(plain):
            start = _start(plain, match.start())
            if start < match.start() and _leads_to_a_door(plain, start, match, pattern is _AT_STREET):
                yield Span(start, match.end(), "address")
    for match in _FIELD.finditer(plain):
        yield Span(*match.span(1), "address")


def _start(plain: str, anchor: int) -> int:
    """Return where the address begins whose street, estate or village word stands at `anchor`."""
    start = anchor
    while start > max(0, anchor - _LEFT_REACH) and (
        "\u4e00" <= plain[start - 1] <= "\u9fff" or _digit_inside(plain, start)
    ):
        start -= 1
    lead = 0
    for match in _LEAD.finditer(plain, start, anchor):
        if match.end() < anchor and _may_end_lead(plain, match, anchor):
            lead = match.end()
    return max(start, lead)


def _digit_inside(plain: str, position: int) -> bool:
    """Tell whether the characters before are a number inside an address: 朝阳区3号院."""
    return (
        bool(re.search(rf"[{_H}][0-9]{{1,4}}$", plain[max(0, position - 6) : position]))
        and plain[position] in "号弄组街路村幢栋"
    )


def _may_end_lead(plain: str, match: re.Match[str], anchor: int) -> bool:
    """Tell whether a leading word ends here: one character must not cut a place name in two."""
    if len(match[0]) > 1:
        return True
    rest = plain[match.end() : anchor]
    before = plain[max(0, match.start() - 12) : match.start()]
    return len(rest) >= 2 and not _ADMINISTRATIVE.search(before)


def _leads_to_a_door(plain: str, start: int, match: re.Match[str], street: bool) -> bool:
    """Refuse loops, gates and units of a plant that are numbered like houses."""
    name = plain[start : match.start()]
    right = plain[match.end() : match.end() + 4].partition(COVER)[0]
    if _PLANT_AFTER.match(right):
        return False
    if _ADMINISTRATIVE.search(name) and len(name) >= 4:
        return True
    if street:
        return len(name) >= 2 and not _PLANT_STREET.search(name)
    return len(name) >= 2
