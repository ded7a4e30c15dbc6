"""Chinese personal names in running text, without a language model.

Every surname followed by characters that names like is a candidate. It gains by how surely the surname is one, by
given-name characters, by roles, titles and verbs around it, and loses where an ordinary word runs across its borders
(测量程高: 量程, 程高). The weights were set on sentences written for the purpose and on published instruction rows.
"""

import re
from collections.abc import Iterator
from itertools import takewhile

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.lexicon import given_points, words
from tasks.data.privacy.public_names import is_public, is_public_foreign
from tasks.data.privacy.spans import COVER, Span, has_chinese
from tasks.data.privacy.surnames import COMPOUND, MIXED, MONGOLIAN, NEVER, PURE, RARE, TIBETAN
from tasks.data.privacy.wordlists import word_set

_FIRST = "".join(sorted(PURE | MIXED | RARE | {compound[0] for compound in COMPOUND.split("|")}))
#: One character class first: the search then skips what is no surname without trying anything else there.
_SURNAME = re.compile(rf"[{_FIRST}](?=[\u4e00-\u9fff](?<![{''.join(sorted(NEVER))}]))")
_COMPOUNDS = frozenset(COMPOUND.split("|"))
#: 健太郎, 龙之介: three characters after a surname of two.
_JAPANESE_ENDS = ("郎", "助", "介")
_COMPOUND_FIRST = frozenset(compound[0] for compound in _COMPOUNDS)
_TITLE = "|".join(sorted(cues.TITLES, key=len, reverse=True))
_TITLED = re.compile(rf"(?:{_TITLE})(?!们)")
#: 张工, 李总: short forms of titles that end many other words.
_SHORT_TITLE = re.compile(
    r"[工总姐哥叔婶嫂伯](?=[\s,.;:!?、)]|$|[说在的到对把和与来去已请让签要会就刚正将帮家]|确认|负责|复核|检查|审核|联系|你好|您好)"
)
#: Between two names they join them, before one they lead to it.
_CONJUNCTIONS = frozenset("和向于由从经到应时")
#: Of the function words only these: 由工程师设计 and 全班长 are no people.
_BEFORE_TITLES = frozenset("应常关边时")
#: Titles that follow no verb: 给应科长.
_FORMAL = word_set(
    "先生 女士 老师 教授 博士 医生 大夫 主任 科长 处长 局长 厂长 部长 队长 班长 工程师 师傅 经理 律师 警官"
)
_CONJUNCTION_LEAST = 3.5
_SAYS = frozenset(": 为是叫")
_TRADES = word_set("高工 金工 童工 车工 施工 石工 牛工 麻工 易工 高总 康哥 高哥 高叔 高姐 马哥 牛哥")
_FAMILIAR = re.compile(rf"[老小]([{''.join(sorted(PURE))}])")
_SYLLABLES = "\u4e00-\u9fff"
_DOTS = "·•・‧"
_FOREIGN = re.compile(rf"[{_SYLLABLES}]{{1,9}}(?:[{_DOTS}][{_SYLLABLES}]{{1,9}}){{1,3}}")
#: What transliterations are written with; a dot between other words is a bullet or a title (卷一·总则).
_TRANSLITERATION = frozenset(
    "阿埃艾爱安奥巴柏班邦鲍贝本比彼宾波伯博布查茨达戴丹道德登邓迪蒂丁杜顿多厄恩尔法范菲费芬夫弗福盖冈戈哥格"
    "葛根古哈海汉豪赫亨胡华怀惠霍基吉加"
    "贾杰捷金卡凯坎康柯科克肯库奎拉莱赖兰郎劳勒雷里丽利莉林琳列刘隆卢鲁路露伦罗洛马玛迈麦曼梅门蒙米密敏明莫"
    "默姆穆纳娜南内尼妮宁牛纽努诺欧帕潘佩"
    "彭皮平泼普奇齐恰乔切琼丘热仁日荣茹儒瑞萨塞桑瑟森沙莎珊尚舍申什圣施史士舒朔丝斯松苏索塔泰坦汤唐特腾提田"
    "廷图托瓦万旺威韦维温文沃乌武西希锡夏"
    "香肖谢辛欣休许雪雅亚延扬耶叶伊因英尤于约泽扎詹珍治朱兹祖佐芭蓓碧翠芙黛嘉洁莲玫琪茜薇雯娅伽喀咖买江次央"
    "卓旦增措木依合孜力素艾热买甫班白朗"
    "吾娃参迦济翰逊詹摩弥庞烈顺谟铎缪谬让巧蕾萝莘菈瑙尧蒙狄俄泊蕾圭穷勃塔朵丘陀庇贡噶珠曲培吾且木努依提库尔赛吐汗阔孜帕肉莱别灵生世易修奈保珀露丝洪洪"
)
#: Characters of transliterations that Chinese given names avoid: 史密斯 is not Shi Misi.
_FOREIGN_GIVEN = frozenset("斯尔特克罗兹塔拉姆夫莱迪萨耶伯莫尼茨勒蒂帕卡巴玛厄瑟塞逊顿")
_TIBETAN_PARTS = frozenset(TIBETAN.split("|"))
_TIBETAN_FIRST, _TIBETAN_SECOND = ("".join(sorted({part[place] for part in _TIBETAN_PARTS})) for place in (0, 1))
_TIBETAN = re.compile(rf"[{_TIBETAN_FIRST}][{_TIBETAN_SECOND}](?=[{_TIBETAN_FIRST}][{_TIBETAN_SECOND}])")

_MONGOLIAN = re.compile(
    rf"(?=[{''.join(sorted({part[0] for part in MONGOLIAN.split('|')}))}])({MONGOLIAN})(?:·?(?:{MONGOLIAN}))*"
)
_MONGOLIAN_HINT = re.compile(
    "[{}](?=[{}])".format(*map("".join, map(set, zip(*[part[:2] for part in MONGOLIAN.split("|")], strict=True))))
)
#: Places and things too, alone.
_STEPPES = word_set("乌兰 巴图 宝音 苏和 达来 布和 其格 图雅 乌云 哈斯 敖登")

_COMPOUND_POINTS, _UNLISTED_POINTS, _FOREIGN_POINTS = 4.0, -0.5, -2.0
_STRONG_CUE, _LISTED_CUE, _FIELD_CUE, _PERSON_CUE, _WEAK_CUE, _COUNTED = 4.0, 3.5, 2.0, 2.0, 1.0, -3.0
_WORD_ACROSS, _WORD_WITHIN, _WORD_AT_START = -2.5, -1.0, -3.0
#: Points of pairs met so far; there are as many as surnames times characters.
_PAIRS: dict[str, float] = {}
_LEAST = 5.5
#: Surname and given characters together; below these no context makes a name.
#: 葛洲坝, 雷姆仪: as often a place or an instrument.
_THING_END = 2.0
_LEAST_ALONE = {1: 0.0, 2: 0.5, 3: 0.5}
_SURNAME_POINTS = {**dict.fromkeys(RARE, -1.0), **dict.fromkeys(MIXED, 1.0), **dict.fromkeys(PURE, 3.0)}


def find_chinese_names(plain: str) -> Iterator[Span]:
    """Yield Chinese personal names in readable text."""
    if not has_chinese(plain):
        return
    yield from _without_surname(plain)
    names: set[str] = set()
    position = 0
    known = words()
    for match in _SURNAME.finditer(plain):
        start = match.start()
        if start < position or (plain[start] not in _COMPOUND_FIRST and _hopeless(plain, start)):
            continue
        if plain[start : start + 3] in known:
            continue
        end = _best_end(plain, start, start + _surname_length(plain, start))
        if not end or _is_transliteration(plain, start, end):
            continue
        position = end
        if any(is_public(plain[start : start + length]) for length in (2, 3, 4)):
            continue
        names.add(plain[start:end])
        yield Span(start, end, "person_name")
    yield from _mentioned_again(plain, names)
    yield from _surnames_with_title(plain)


def _surname_length(plain: str, start: int) -> int:
    """Return how many characters the surname at `start` has; 0 where there is none."""
    if plain[start] in _COMPOUND_FIRST:
        for length in (4, 3, 2):
            if plain[start : start + length] in _COMPOUNDS:
                return length
    return 1 if plain[start] in _SURNAME_POINTS else 0


def _best_end(plain: str, start: int, given: int) -> int:
    """Return where the best name ends whose surname is `plain[start:given]`, or 0 where there is none."""
    points, known = given_points(), words()
    first, second = plain[given : given + 1], plain[given + 1 : given + 2]
    surname = _SURNAME_POINTS[plain[start]] if given - start == 1 else _COMPOUND_POINTS
    if given == start or first + second in cues.STRONG_AFTER:
        return 0
    if plain[start] in (first, plain[start - 1 : start]) or (
        plain[start] == "曾" and (plain[start : given + 1] in known or first not in points)
    ):
        # 谢谢, 曾经, 曾订购.
        return 0
    if surname < 0 and first in PURE and points.get(second, _UNLISTED_POINTS) > 0:
        # 经熊秀子核实: the word before a name.
        return 0
    base = surname + points.get(first, _UNLISTED_POINTS)
    base += _WORD_AT_START if plain[given - 1 : given + 1] in known else 0.0
    if plain[start] in _CONJUNCTIONS and given - start == 1:
        least = points.get(first, _UNLISTED_POINTS) + points.get(second, _UNLISTED_POINTS)
        if (plain[start] == "和" or least < _CONJUNCTION_LEAST) and not _named_as_such(plain, start, given):
            return 0
    best, end, before = 0.0, 0, None
    lengths = (3, 2, 1) if given - start == 2 and plain[given + 2 : given + 3] in _JAPANESE_ENDS else (2, 1)
    for length in lengths:
        stop = given + length
        alone = base + (points.get(second, _UNLISTED_POINTS) if length > 1 else 0.0)
        if alone < _LEAST_ALONE[length] or not _is_chinese(first if length == 1 else second):
            continue
        if length == 2 and plain[given:stop] in known:
            alone += _WORD_WITHIN
        before = _before(plain, start) if before is None else before
        if before != _STRONG_CUE:
            if plain[stop : stop + 2] in cues.THINGS_AFTER:
                # 戴维宁等效电路: 戴维 is no name there either.
                return 0
            alone -= _THING_END if plain[stop - 1 : stop] in cues.THING_ENDS else 0.0
        surplus = alone + before + _after(plain, stop) - _LEAST - (0.5 if surname < 0 else 0.0)
        if before == _STRONG_CUE and cues.field_around(cues.left_of(plain, start), cues.right_of(plain, stop)):
            surplus += _FIELD_CUE
        if surplus > best or (not end and surplus == best):
            best, end = surplus, stop
    return end


def _hopeless(plain: str, start: int) -> bool:
    """Tell whether even the best that the characters around allow makes no name of a surname of one character."""
    pair, third = plain[start : start + 2], plain[start + 2 : start + 3]
    base = _PAIRS.get(pair)
    if base is None:
        base = _PAIRS[pair] = _pair_points(pair)
    if not start or plain[start - 1] in cues.LAST_CHARACTERS:
        base += _STRONG_CUE
    if third in cues.FIRST_CHARACTERS:
        base += _STRONG_CUE
        if base + _FIELD_CUE >= _LEAST:
            return False
        base -= _STRONG_CUE
    base += given_points().get(third, _UNLISTED_POINTS) + _FIELD_CUE
    if base >= _LEAST:
        return False
    return base + _STRONG_CUE < _LEAST or plain[start + 3 : start + 4] not in cues.FIRST_CHARACTERS


def _pair_points(pair: str) -> float:
    """Return what a surname and one character after it say for a name."""
    points = _SURNAME_POINTS[pair[0]] + given_points().get(pair[1], _UNLISTED_POINTS)
    return points + (_WORD_AT_START if pair in words() else 0.0)


def _named_as_such(plain: str, start: int, given: int) -> bool:
    """Tell whether a form or a title says that 和 or 向 is a surname here: 副值为和静, 给应科长."""
    left = cues.left_of(plain, start)
    if left[-1:] in _SAYS and cues.role_before(left):
        return True
    return any(cues.titled(cues.right_of(plain, given + length)) for length in (0, 1, 2))


def _is_chinese(character: str) -> bool:
    """Tell whether a text is one Chinese character."""
    return "\u4e00" <= character <= "\u9fff" if character else False


def _before(plain: str, start: int) -> float:
    """Return what speaks for a name by what stands before it."""
    left = cues.left_of(plain, start)
    if not left:
        # At the beginning, or right after something personal: [MOBILE]王小明.
        return _WEAK_CUE
    if cues.role_before(left):
        return _STRONG_CUE
    across = left[-1] + plain[start] in words()
    if not across and cues.person_before(left):
        return _STRONG_CUE
    if len(left) == 1 and left in "、,;和与及 " and start > 1 and plain[start - 2] == COVER:
        return _LISTED_CUE
    if left[-1] in cues.COUNTING:
        return _COUNTED
    if left[-1] == ":" or left[-2:] == ": ":
        return _FIELD_CUE
    if cues.weak_before(left):
        return _WEAK_CUE if not across else 0.0
    return _WORD_ACROSS if across else 0.0


def _after(plain: str, stop: int) -> float:
    """Return what speaks for a name by what stands after it."""
    right = cues.right_of(plain, stop)
    if not right:
        return _WEAK_CUE
    if cues.strong_after(right):
        return _STRONG_CUE
    if len(right) == 1 and right in "、,;和与及 " and plain[stop + 1 : stop + 2] == COVER:
        return _LISTED_CUE
    if cues.person_after(right):
        return _PERSON_CUE
    across = plain[stop - 1] + right[0] in words()
    if across:
        return _WORD_ACROSS
    return _WEAK_CUE if cues.weak_after(right) else 0.0


def _mentioned_again(plain: str, names: set[str]) -> Iterator[Span]:
    """Yield further mentions of names of three characters and more: shorter ones may be part of a word."""
    lengths = sorted({len(name) for name in names if len(name) >= 3}, reverse=True)
    for match in _SURNAME.finditer(plain) if lengths else ():
        for length in lengths:
            if plain[match.start() : match.start() + length] in names:
                yield Span(match.start(), match.start() + length, "person_name")
                break


def _surnames_with_title(plain: str) -> Iterator[Span]:
    """Yield surnames that only a title makes personal: 李主任, 由张工复核, 小王."""
    for match in _TITLED.finditer(plain):
        start = _surname_before(plain, match.start())
        if start == match.start() and start and plain[start - 1] in _BEFORE_TITLES:
            start -= 1
            left = cues.left_of(plain, start)
            if left and (left[-1] in cues.INTRODUCING or left[-2:] in cues.INTRODUCING_TWO) and match[0] in _FORMAL:
                yield Span(start, match.start(), "person_name")
            continue
        left = cues.left_of(plain, start)
        sure = plain[start : match.start()] in PURE or match.start() - start == 2
        inside = bool(left) and left[-1] + plain[start : start + 1] in words()
        if start < match.start() and ((sure and not inside) or (not inside and cues.weak_before(left))):
            yield Span(start, match.start(), "person_name")
    for match in _SHORT_TITLE.finditer(plain):
        start = match.start() - 1
        known = start >= 0 and (
            plain[start] in PURE or (plain[start] in MIXED and plain[start : match.end()] not in _TRADES)
        )
        if known and _begins_here(plain, start):
            yield Span(start, match.start(), "person_name")
    for match in _FAMILIAR.finditer(plain):
        if _begins_here(plain, match.start()) and cues.weak_after(cues.right_of(plain, match.end())):
            yield Span(match.start(1), match.end(1), "person_name")


def _surname_before(plain: str, end: int) -> int:
    """Return where the surname that ends at `end` begins; `end` itself where there is none."""
    if end >= 2 and plain[end - 2 : end] in _COMPOUNDS:
        return end - 2
    return end - 1 if end and (plain[end - 1] in PURE or plain[end - 1] in MIXED) else end


def _begins_here(plain: str, start: int) -> bool:
    """Tell whether a name of one character can begin here."""
    left = cues.left_of(plain, start)
    return not left or left[-1] in cues.SURNAME_BEFORE


def _is_transliteration(plain: str, start: int, end: int) -> bool:
    """Tell whether what looks like a name is a piece of a foreign one: 艾德华兹, 古斯塔夫·埃菲尔."""
    around = plain[max(0, start - 1) : start] + plain[end : end + 1]
    if any(character in _DOTS or character in _FOREIGN_GIVEN for character in around):
        # 丈夫臧克勤: the husband is no part of it.
        return not cues.role_before(cues.left_of(plain, start))
    return len(_FOREIGN_GIVEN.intersection(plain[start + 1 : end])) == end - start - 1 or plain[end - 1] in "斯尔兹"


def _without_surname(plain: str) -> Iterator[Span]:
    """Yield transliterated and Tibetan names: 约翰·史密斯, 阿不都·热合曼, 扎西平措."""
    for match in _TIBETAN.finditer(plain):
        start, end = match.span()
        if plain[start:end] in _TIBETAN_PARTS and plain[end : end + 2] in _TIBETAN_PARTS:
            yield Span(start, end + 2, "person_name")
    yield from _mongolian(plain)
    if not any(dot in plain for dot in _DOTS):
        return
    for match in _FOREIGN.finditer(plain):
        parts = re.split(f"[{_DOTS}]", match[0])
        first, last = _foreign_tail(parts[0]), _foreign_head(parts[-1])
        inner = all(len(_foreign_head(part)) == len(part) for part in parts[1:-1])
        if first and last and inner and len(first) + len(last) >= 3 and not is_public_foreign(last):
            start = match.start() + len(parts[0]) - len(first)
            yield Span(start, match.end() - len(parts[-1]) + len(last), "person_name")


def _mongolian(plain: str) -> Iterator[Span]:
    """Yield Mongolian names: 斯琴高娃·乌兰; of one part only where a person is spoken of."""
    for match in _MONGOLIAN.finditer(plain) if _MONGOLIAN_HINT.search(plain) else ():
        several = len(match[0].replace("·", "")) > len(match[1])
        left, right = cues.left_of(plain, match.start()), cues.right_of(plain, match.end())
        person = (
            cues.role_before(left) or cues.person_before(left) or cues.strong_after(right) or cues.person_after(right)
        )
        if several or (match[0] not in _STEPPES and person):
            yield Span(match.start(), match.end(), "person_name")


def _foreign_head(part: str) -> str:
    """Return the transliterated beginning of a part."""
    return "".join(takewhile(_TRANSLITERATION.__contains__, part))


def _foreign_tail(part: str) -> str:
    """Return the transliterated end of a part."""
    return _foreign_head(part[::-1])[::-1]
