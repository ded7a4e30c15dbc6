"""Chinese postal addresses that lead to a door: a street and number, an estate and building, a village and group.

Provinces, cities and districts alone are places, and rooms, gates and loops of a plant have numbers too (3号机组,
一回路2号泵): the anchor is the street, estate or village word with its number; what stands before it is read leftwards.
"""

import re
from collections.abc import Iterator

from tasks.data.privacy.english_addresses import ENGLISH_ADDRESSES, find_english_addresses
from tasks.data.privacy.screen import Likely
from tasks.data.privacy.spans import COVER, Span, has_chinese

_H = r"\u4e00-\u9fff"
_DIGITS = r"[0-9]{1,5}(?:-[0-9]{1,4})?[A-Za-z]?"
_NUMBER = (
    rf"(?:{_DIGITS}|[一二三四五六七八九十百零〇两]{{1,4}}|[甲乙丙丁][0-9]{{1,4}}|[0-9]{{1,4}}[甲乙丙丁]"
    rf"|[A-Za-z][0-9]{{0,3}})"
)
_STREET = r"(?:大道|路|街|巷|弄|里|道|坊|条|段|胡同)"
_RESIDENCE = (
    r"(?:小区|花园|家园|公寓|新村|花苑|名苑|雅苑|佳苑|苑|华庭|名园|山庄|别墅|家属院|宿舍|大院|公馆|府邸|社区|新城|名邸|雅居|佳园"
    r"|豪庭|名城|国际城|花城|世家|御府|新苑|庭院|半岛|嘉园|名府|华府|丽景|雅园|一品|大厦|大楼|广场|商务楼|写字楼|公寓楼)"
)
#: Of offices: 紫金大厦A座1203室.
_OFFICE = r"(?:大厦|大楼|写字楼|商务楼|广场|中心|国际|国贸|科技园|创业园|产业园|软件园|商城)"
_BUILDING = r"(?:号楼|号院|幢|栋|座|期)"
#: A number without 室 ends an address unless it counts or measures something.
_BARE = r"[0-9]{3,4}(?![0-9A-Za-z.%])(?![米元人户年个毫微度次千万亩吨])"
_COUNTED = "米元人户年个毫微度次千万亿亩吨号弄栋幢路街站线公辆多余里分秒月日点时层岁级期倍家名位种条项%℃至到"
_PART = (
    rf"(?:[ ]?(?:第?{_NUMBER}[ ]?(?:号楼|号院|号|幢|栋|座|楼|层|单元|室|户|房|弄|组|排|F)|之[0-9]{{1,2}}"
    rf"|(?<=[楼層层座])[A-H](?![0-9A-Za-z])|{_BARE}))"
)
_ESTATE_AFTER = rf"(?:[{_H}]{{2,12}}?(?:{_RESIDENCE}|大厦|广场|中心|[{_H}](?={_DIGITS}(?:幢|栋|座|号楼))))?"
#: 文三路138号3幢2单元501室
_AT_STREET = re.compile(
    rf"{_STREET}(?:[东西南北中一二三四五]{{0,2}}段)?[ ]?{_NUMBER}[ ]?(?:号楼|号院|号|弄|巷|幢"
    rf"|栋)(?:附{_NUMBER}号)?{_PART}?{_ESTATE_AFTER}{_PART}{{0,5}}"
)
#: 阳光花园二期3栋2单元501室; without a residence's word two parts are needed: 锦绣江南3栋501室
_AT_RESIDENCE = re.compile(
    rf"{_RESIDENCE}(?:[东西南北一二三四五六七八九十]{{1,2}}[期区里"
    rf"])?[ ]?{_NUMBER}[ ]?{_BUILDING}{_PART}{{0,5}}|{_RESIDENCE}(?:[东西南北]区)?[ ]?{_PART}{{2,5}}"
)
#: 幸福家园3-2-501, 幸福家园二期12#1503
_AT_DASHES = re.compile(
    rf"{_RESIDENCE}(?:[东西南北一二三四五六七八九十0-9]{{1,2}}[期区里])?[ "
    rf"]?[0-9]{{1,3}}(?:[-#][0-9]{{1,2}})?[-#][0-9]{{3,4}}"
    rf"(?![0-9A-Za-z-])"
)
#: 紫金大厦A座1203室, 科技园中心805室
_AT_OFFICE = re.compile(
    rf"{_OFFICE}[ ]?(?:(?:[A-Z]|[东西南北]|[0-9]{{1,2}}|[一二三四五六七八九十])[ ]?(?:座|栋|幢|号楼|塔楼|楼))?[ "
    rf"]?(?:[0-9]{{1,2}}[层楼][ ]?)?"
    rf"(?:[0-9]{{3,4}}(?:室|房|号房|单元)|(?<=[座栋幢楼层])[0-9]{{3,4}}(?![0-9A-Za-z.%年个人米元平户]))"
)
#: 枫桥路385: the number alone, where a district or a word for addresses stands before it.
_AT_BARE_STREET = re.compile(
    rf"(?:大道|路|街|巷|胡同)[ ]?[0-9]{{1,4}}(?:-[0-9]{{1,3}})?(?![0-9A-Za-z.%:/~]|-[0-9]|[ ]?[{_COUNTED}])"
)
_ADDRESSED = re.compile(r"(?:址|住|居|寄[到至往]?|送[到至往]?|位于|坐落[于在]?|[在到至是于]|:|：|[\"“(])[ ]?$")
_AT_BUILDING = re.compile(rf"[0-9]{{1,3}}[A-Za-z]?[ ]?{_BUILDING}[ ]?{_PART}{{1,4}}")
#: 秦山镇杨柳村3组12号, 高峰村塘湾组
_AT_VILLAGE = re.compile(
    rf"(?:村|屯|庄|寨|坳|大队|嘎查)[ ]?{_NUMBER}[ ]?(?:组|队|社|号|屯)(?:[ ]?{_NUMBER}[ ]?(?:号|户|室))?"
)
#: 丰山村夏家桥18号: a hamlet of a village and a door.
_AT_HAMLET = re.compile(
    rf"(?:村|社区|屯|坳)[{_H}]{{2,4}}?[桥头湾沟坡岭塘坪坝洼堡埠埂店集冲浜埭厝坑岗塆园][ ]?{_NUMBER}号(?!线)"
)
#: 东岗村大崴屯: a hamlet stands for its few households.
_IN_HAMLET = re.compile(rf"(?:村|乡|镇|苏木)[{_H}]{{1,4}}?(?:屯|嘎查|自然村|寨)(?![{_H}]?(?:水库|电站|变电|路))")
_AT_NAMED_GROUP = re.compile(rf"(?:村|社区|屯)[{_H}]{{1,4}}?(?:组|屯)(?:[ ]?{_NUMBER}[ ]?(?:号|户))?")
_ADMINISTRATIVE = re.compile(rf"[{_H}]{{2,9}}?(?:自治[区州县]|省|市|地区|盟|州|区|县|旗|镇|乡|街道|苏木|村)")
#: Something is numbered at all, and there is a word an address can end with.
_HINT = re.compile(
    r"[0-9一二三四五六七八九十A-Z甲乙丙丁湾](?:号|弄|幢|栋|座|单元|组|队|社|屯|室)|[村屯区]..{0,3}组|[村乡镇木].{1,4}[屯查寨村]"
)
#: A number after a street, in dashes, or of an office; begins with a digit, so that the search skips what is none.
_NUMBER_HINT = re.compile(
    r"[0-9](?:(?<=[路街道巷同][0-9])|(?<=[路街道巷同][ ][0-9])|(?<=[\u4e00-\u9fff][0-9])[0-9]{0,2}[-#][0-9]"
    r"|(?<=[厦楼场心际园城座][0-9])[0-9]{2})"
)
#: What may stand before the first place name and is no part of it.
_LEAD = re.compile(
    r"(?:家庭|通讯|通信|联系|收货|收件|邮寄|户籍|详细|注册|办公|寄送|居住)?(?:住址|地址|住所)(?:是|为|在)?"
    r"|户籍地?|现住址|居住地|常住地|所在地|住所地|籍贯"
    r"|位于|坐落[于在]|居住[在于]|现居住?(?:[在于])?|居住|家住在?|[现租]?住[在于进]|租住|搬[到至]了?|迁[至到往]|寄[到往至]"
    r"|送餐?[到至往]|快递到|邮寄[到至]?|发往|发到|赶[到往]|前往|到达|抵达|来自|设在|安置[在于到]|转移[到至"
    r"]"
    r"|撤离到|上门到?|登记[为在]|填写[为的]|变更为|改为|写[着的]是?|警人称|反映|出现在|病人|患者|[在到至为住"
    r"由往去是的了寄送请我他她您你者称]|于(?![都田洪潜])|从(?![化江])|自(?![治贡])|和(?![平田县龙静顺硕成谐"
    r"])|放在|放到|存放于|停在|取自|采自|与|及|或|向(?![阳东荣])|位(?!于)"
)
#: Loops, lines and mains of a plant end like streets.
_PLANT_STREET = re.compile(
    r"(?:[回管线电通支旁油气水思网套断开短环并串铁轨信光多单双进出过隧航跑频渠赛车门味报夹这那哪同半上下沿走"
    r"马阶时手字片分国波频阶楼引母风烟料]|第[一二三四五六七八九十]|^[一二三四五六七八九十]+)$"
)
_PLANT_AFTER = re.compile(
    r"[ ]?(?:染色体|基因|元素|汽油|柴油|选手|球衣|台风|宇宙|病毒|机组|泵|阀|堆|柜|线|机|炉|井|罐|箱|桩|风机|"
    r"反应堆|管|通道|出口|入口|测点|点位|探头|监测|样|站"
    r"|母线|变压器|屏|盘|仪|缸|门(?!口|前|外)|孔|厂房|通风|燃料|文|令|公告|标准|规定)"
)
_COUNTED_BUILDING = re.compile(r"(?:楼|大厦|别墅|公寓|广场)[一两二三四五六七八九十]{1,2}[幢栋座]$")
_POSTCODE = re.compile(
    r"(?:邮编|邮政编码|[Pp]ost(?:al)? ?[Cc]ode|[Zz]ip(?: [Cc]ode)?)[ ]?[:是为]?[ ]{0,2}([0-9]{6}"
    r"|[0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2})(?![0-9A-Za-z])"
)
#: 地址: three places or more to the end of the clause, without a door.
_FIELD = re.compile(
    rf"(?:住址|地址|住所|家住|住在)[ ]?[:为是在]?[ ]{{0,2}}((?:(?>[{_H}]{{2,9}}?(?:自治区|省|市|州|区|县|旗|镇"
    rf"|乡|街道|村|社区|小区|嘎查|苑|花园|公寓|屯))){{3,7}})(?=[,.;!?、)\s的]|$)"
)
_LEFT_REACH = 48
#: An address may begin this far before its first number, and end this far after its last.
_REACH = 32


_PATTERNS = {
    "street": _AT_STREET, "residence, dashes": _AT_DASHES, "residence": _AT_RESIDENCE, "office": _AT_OFFICE,
    "village": _AT_VILLAGE, "hamlet, door": _AT_HAMLET, "named group": _AT_NAMED_GROUP, "hamlet": _IN_HAMLET,
    "building": _AT_BUILDING, "street alone": _AT_BARE_STREET,
}  # fmt: skip
#: What addresses are written with in traditional characters, one for one.
_TRADITIONAL = str.maketrans(
    "號樓區縣鄉鎮棟東廈廣園莊單層戶組華蘇國濱濟陽灣嶺橋鐵龍", "号楼区县乡镇栋东厦广园庄单层户组华苏国滨济阳湾岭桥铁龙"
)


#: For `screen.Screen`.
_TRADITIONAL_SIGN, _FIELD_NAME, _POSTCODE_NAME = "traditional address", "address field", "postcode"
CHINESE_ADDRESSES = {
    **{name: pattern.pattern for name, pattern in _PATTERNS.items()},
    _FIELD_NAME: _FIELD.pattern,
    _TRADITIONAL_SIGN: "[號樓棟]",
}
ADDRESSES = {**CHINESE_ADDRESSES, _POSTCODE_NAME: _POSTCODE.pattern, **ENGLISH_ADDRESSES}
_ALL: Likely = frozenset(ADDRESSES)


def find_addresses(plain: str, likely: Likely = _ALL) -> Iterator[Span]:
    """Yield postal addresses in readable text.

    Args:
        plain: readable text.
        likely: names of `ADDRESSES` that may match.
    """
    if not likely.isdisjoint(CHINESE_ADDRESSES) and has_chinese(plain):
        if _TRADITIONAL_SIGN in likely:
            yield from _chinese(plain.translate(_TRADITIONAL) if any(one in plain for one in "號樓棟") else plain, _ALL)
        else:
            yield from _chinese(plain, likely)
    if _POSTCODE_NAME in likely:
        for match in _POSTCODE.finditer(plain):
            yield Span(*match.span(1), "address")
    yield from find_english_addresses(plain, likely)


def _chinese(plain: str, likely: Likely) -> Iterator[Span]:
    """Yield Chinese addresses."""
    patterns = [pattern for name, pattern in _PATTERNS.items() if name in likely]
    for begin, end in _parts(plain) if patterns else ():
        for pattern in patterns:
            for match in pattern.finditer(plain, begin, end):
                start = _start(plain, match.start())
                if start < match.start() and _leads_to_a_door(plain, start, match):
                    yield Span(start, match.end(), "address")
    if _FIELD_NAME in likely:
        for match in _FIELD.finditer(plain):
            yield Span(*match.span(1), "address")


def _parts(plain: str) -> list[tuple[int, int]]:
    """Return the parts of a text around what is numbered like a house, joined where they touch."""
    parts: list[tuple[int, int]] = []
    hints = [match.span() for match in _HINT.finditer(plain)]
    if more := [match.span() for match in _NUMBER_HINT.finditer(plain)]:
        hints = sorted([*hints, *more])
    for first, last in hints:
        start, end = max(0, first - _REACH), last + _REACH
        if parts and start <= parts[-1][1]:
            parts[-1] = parts[-1][0], end
        else:
            parts.append((start, end))
    return parts


def _start(plain: str, anchor: int) -> int:
    """Return where the address begins whose street, estate or village word stands at `anchor`."""
    start, least = anchor, max(0, anchor - _LEFT_REACH)
    while start > least and ("\u4e00" <= plain[start - 1] <= "\u9fff" or _number_inside(plain, start)):
        start -= 1
    lead = start
    for match in _LEAD.finditer(plain, start, anchor):
        # One character must not cut a place name in two, so it counts only before the first district.
        if len(match[0]) > 1 or not _ADMINISTRATIVE.search(plain, lead, match.start()):
            lead = match.end()
    return lead if lead < anchor else start


def _number_inside(plain: str, position: int) -> bool:
    """Tell whether the character before is part of a number inside an address: 朝阳区3号院."""
    return plain[position - 1].isdigit() and (plain[position] in "号弄组街路村幢栋大巷段" or plain[position].isdigit())


def _leads_to_a_door(plain: str, start: int, match: re.Match[str]) -> bool:
    """Refuse loops, gates and units of a plant that are numbered like houses."""
    name = plain[start : match.start()]
    right = plain[match.end() : match.end() + 4].partition(COVER)[0]
    if _PLANT_AFTER.match(right):
        return False
    districts = bool(_ADMINISTRATIVE.search(name))
    addressed = bool(_ADDRESSED.search(plain, max(0, start - 4), start))
    pattern = match.re
    # 写字楼一幢 counts buildings.
    if pattern is _AT_RESIDENCE and _COUNTED_BUILDING.search(match[0]):
        return False
    if pattern is _AT_STREET:
        sure = (districts and len(name) >= 4) or (addressed and len(name) >= 3)
        return sure or (len(name) >= 2 and not _PLANT_STREET.search(name))
    if pattern is _AT_BARE_STREET:
        street = districts or ((addressed or start == 0) and not _PLANT_STREET.search(name))
        return len(name) >= 2 and bool(street)
    if pattern is _AT_OFFICE:
        return len(name) >= 2 and not right.startswith("度")
    if pattern is _AT_NAMED_GROUP or pattern is _IN_HAMLET:
        return districts and len(name) >= 4
    if pattern is _AT_BUILDING:
        return len(name) >= 3 and ("单元" in match[0] or districts)
    return len(name) >= 2
