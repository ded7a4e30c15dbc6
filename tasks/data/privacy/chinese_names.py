"""Chinese personal names in running text.

Every surname followed by characters that names like is a candidate; a linear model (`name_model.py`) says how surely it
is a name by its characters, the words across its borders and what stands beside it. Public people are told apart
(`public_names.py`); names without a Chinese surname, surnames with a title and further mentions are found by rules.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.lexicon import words
from tasks.data.privacy.name_model import COMPOUNDS, SINGLE, Scorer, model, scorer, simplified, traditional_only
from tasks.data.privacy.public_names import is_public, is_public_foreign
from tasks.data.privacy.screen import Likely
from tasks.data.privacy.spans import COVER, PUBLIC_PERSON, Span, has_chinese
from tasks.data.privacy.surnames import MIXED, MONGOLIAN, NEVER, PURE, TIBETAN
from tasks.data.privacy.wordlists import word_set

_FIRST = "".join(sorted(SINGLE | {compound[0] for compound in COMPOUNDS}))
#: One character class first: the search then skips what is no surname without trying anything else there.
_SURNAME = re.compile(rf"[{_FIRST}](?=[\u4e00-\u9fff](?<![{''.join(sorted(NEVER))}]))")
#: 健太郎, 龙之介: three characters after a surname of two.
_JAPANESE_ENDS = ("郎", "助", "介")
_COMPOUND_FIRST = frozenset(compound[0] for compound in COMPOUNDS)
_TITLE = "|".join(sorted(cues.TITLES, key=len, reverse=True))
_TITLED = re.compile(rf"(?:{_TITLE})(?!们)")
#: 张工, 李总: short forms of titles that end many other words.
_SHORT_TITLE = re.compile(
    r"[工总姐哥叔婶嫂伯](?=[\s,.;:!?、)]|$|[说在的到对把和与来去已请让签要会就刚正将帮家]|确认|负责|复核|检查|审核|联系|你好|您好)"
)
#: Of the function words only these: 由工程师设计 and 全班长 are no people.
_BEFORE_TITLES = frozenset("应常关边时")
#: Titles that follow no verb: 给应科长.
_FORMAL = word_set(
    "先生 女士 老师 教授 博士 医生 大夫 主任 科长 处长 局长 厂长 部长 队长 班长 工程师 师傅 经理 律师 警官"
)
_TRADES = word_set("高工 金工 童工 车工 施工 石工 牛工 麻工 易工 高总 康哥 高哥 高叔 高姐 马哥 牛哥")
_FAMILIAR = re.compile(rf"[老小]([{''.join(sorted(PURE))}])")
_SYLLABLES = "\u4e00-\u9fff"
_DOTS = "·•・‧"
_FOREIGN = re.compile(rf"[{_SYLLABLES}]{{1,9}}(?:[{_DOTS}][{_SYLLABLES}]{{1,9}}){{1,3}}")
#: What transliterations are written with; a dot between other words is a bullet or a title (卷一·总则).
_TRANSLITERATION = frozenset(
    "何阿埃艾爱安奥巴柏班邦鲍贝本比彼宾波伯博布查茨达戴丹道德登邓迪蒂丁杜顿多厄恩尔法范菲费芬夫弗福盖冈戈哥格"
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
#: Places and things too, alone.
_STEPPES = word_set("乌兰 巴图 宝音 苏和 达来 布和 其格 图雅 乌云 哈斯 敖登")

_TOWNS = frozenset("市县省镇")
_DYNASTIES = frozenset("夏商周秦魏唐宋")
#: 甲、乙、丙、丁四人; 原乙国
_COUNTS = frozenset("一二两三四五六七八九十几甲乙丙")
#: Buckets of words that no transliteration begins inside of.
_FREQUENT = (2, 3, 4)
_LISTED_CUE, _THING_END = 2.0, 3.5
#: Who is named in classical Chinese is history: particles that modern sentences have no use for.
_CLASSICAL = re.compile(r"[曰矣哉兮]|也[。;!?]|焉[,。;]|(?<![在似近合几关])乎[,。!?]")
_SENTENCE, _EXAM = 40, 300
_SENTENCE_ENDS = re.compile(r"[。;!?\n]")


@lru_cache(maxsize=1)
def screened() -> dict[str, str]:
    """Return name and pattern of what is looked for by a pattern (`screen.Screen`): all but surnames."""
    known = "".join(sorted(PURE | MIXED))
    return {
        _TRADITIONAL_NAME: traditional_only().pattern,
        _TITLED_NAME: _TITLED.pattern,
        _SHORT_NAME: f"[{known}]{_SHORT_TITLE.pattern}",
        _FAMILIAR_NAME: _FAMILIAR.pattern,
        _TIBETAN_NAME: _TIBETAN.pattern,
        _MONGOLIAN_NAME: MONGOLIAN,
        _FOREIGN_NAME: f"[{_DOTS}]",
        _COMPOUND_NAME: "|".join(sorted(COMPOUNDS)),
        _CHINESE_NAME: "[\u4e00-\u9fff]",
    }


_TRADITIONAL_NAME, _TITLED_NAME, _SHORT_NAME = "traditional name", "title", "short title"
_FAMILIAR_NAME, _TIBETAN_NAME, _MONGOLIAN_NAME = "familiar name", "tibetan name", "mongolian name"
_FOREIGN_NAME, _COMPOUND_NAME, _CHINESE_NAME = "foreign name", "compound surname", "chinese"
_ALL: Likely = frozenset(
    (
        _TRADITIONAL_NAME, _TITLED_NAME, _SHORT_NAME, _FAMILIAR_NAME, _TIBETAN_NAME, _MONGOLIAN_NAME, _FOREIGN_NAME,
        _COMPOUND_NAME, _CHINESE_NAME,
    )
)  # fmt: skip


def find_chinese_names(plain: str, names: str = "balanced", likely: Likely = _ALL) -> Iterator[Span]:
    """Yield Chinese names in readable text, those of public and fictional people as `public_person`.

    Args:
        plain: readable text.
        names: how readily a candidate is a name, `LEAST_POINTS`.
        likely: names of `screened` that may match.
    """
    if _CHINESE_NAME not in likely or not has_chinese(plain):
        return
    if _TRADITIONAL_NAME in likely and traditional_only().search(plain):
        plain, likely = plain.translate(simplified()), _ALL
    yield from _without_surname(plain, likely)
    titles = list(_TITLED.finditer(plain)) if _TITLED_NAME in likely else []
    found: set[str] = set()
    for start, end in sorted(_chosen(plain, names, titles, likely)):
        if _is_transliteration(plain, start, end):
            continue
        if is_public(plain, start, end) or _is_classical(plain, start, end):
            yield Span(start, end, PUBLIC_PERSON)
            continue
        found.add(plain[start:end])
        yield Span(start, end, "person_name")
    yield from _mentioned_again(plain, found)
    yield from _surnames_with_title(plain, titles, likely)


def _is_classical(plain: str, start: int, end: int) -> bool:
    """Tell whether a name stands in a sentence of classical Chinese, as exams quote them."""
    first = plain.rfind("\n", max(0, start - _SENTENCE), start)
    last = _SENTENCE_ENDS.search(plain, end, end + _SENTENCE)
    return bool(_CLASSICAL.search(plain, max(first, start - _SENTENCE, 0), last.end() if last else end + _SENTENCE))


def _chosen(plain: str, names: str, titles: list[re.Match[str]], likely: Likely) -> list[tuple[int, int]]:
    """Return the candidates that are names, the surest first, without overlaps."""
    taken, chosen = bytearray(len(plain)), []
    for _, start, end in sorted(_scored(plain, names, titles, likely), reverse=True):
        if not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            chosen.append((start, end))
    return chosen


def _scored(plain: str, names: str, titles: list[re.Match[str]], likely: Likely) -> Iterator[tuple[float, int, int]]:
    """Yield points and places of the candidates with enough points."""
    model = scorer(names)
    # The pattern has seen to it that the next character is Chinese and may be in a name.
    starts = [match.start() for match in _SURNAME.finditer(plain)]
    for start in starts if _COMPOUND_NAME in likely else ():
        if plain[start] in _COMPOUND_FIRST and (length := _compound(plain, start)):
            yield from _ends(plain, start, start + length, model)
    for start in model.beginnings(plain, (s for s in starts if plain[s] in SINGLE and plain[s] != plain[s + 1])):
        yield from _ends(plain, start, start + 1, model)
    # What a title follows is not given up for a character that is rare in names.
    for match in titles:
        for start in (match.start() - 3, match.start() - 2):
            if start >= 0 and plain[start] in PURE and _SURNAME.match(plain, start):
                yield from _ends(plain, start, start + 1, model, held=True)


def _ends(plain: str, start: int, given: int, model: Scorer, *, held: bool = False) -> Iterator[tuple[float, int, int]]:
    """Yield points and places of the names whose surname ends at `given`."""
    bonus = _LISTED_CUE if start > 1 and plain[start - 2] == COVER and plain[start - 1] in "、,;和与及 " else 0.0
    japanese = given - start == 2 and plain[given + 2 : given + 3] in _JAPANESE_ENDS
    for points, end in model.ends(plain, start, given, bonus + (_LISTED_CUE if japanese else 0.0), held=held):
        surplus = points - model.least(plain[start:given], end - given)
        if _is_letter(plain, start, given):
            continue
        if not _is_title(plain, given, end) and not _is_thing(plain, start, end, surplus):
            yield points, start, given + 3 if japanese else end


def _is_title(plain: str, given: int, end: int) -> bool:
    """Tell whether what would be the given name is a title or a number of people: 陈先生, 张工, 丁四人."""
    if cues.titled(plain, given) or (plain[given] in _COUNTS and plain[given + 1 : given + 2] in tuple("人名位个国")):
        return True
    if plain[given] == "氏":
        return True
    return end - given == 1 and plain[given] in "工总姐哥叔婶嫂伯某"


def _is_letter(plain: str, start: int, given: int) -> bool:
    """Tell whether what would be the surname is a letter, a side or a dynasty: 丙、丁, 左表 and 右表, 唐律."""
    first, near = plain[start], plain[max(0, start - _SENTENCE) : start]
    if first == "丁":
        return "丙" in near or "乙" in near
    if first == "左":
        return "右" + plain[given : given + 1] in near + plain[given : given + _SENTENCE]
    return first in _DYNASTIES and plain[given] in "朝代律"


def _compound(plain: str, start: int) -> int:
    """Return how long the compound surname at `start` is; 0 where there is none, or no given name after it."""
    for length in (4, 3, 2):
        if plain[start : start + length] in COMPOUNDS:
            after = plain[start + length : start + length + 1]
            return length if "\u4e00" <= after <= "\u9fff" and after not in NEVER else 0
    return 0


def _is_thing(plain: str, start: int, end: int, surplus: float) -> bool:
    """Tell whether a law, a circuit, a plant or a place is called so: 戴维宁等效电路, 葛洲坝."""
    if end - start == 3 and plain[end - 1] in _TOWNS:
        return True
    if cues.role_before(cues.left_of(plain, start)) or cues.person_after(cues.right_of(plain, end)):
        return False
    if any(plain[stop : stop + 2] in cues.THINGS_AFTER for stop in (end, end + 1)):
        return True
    return plain[end - 1] in cues.THING_ENDS and surplus < _THING_END


def _mentioned_again(plain: str, names: set[str]) -> Iterator[Span]:
    """Yield further mentions of names of three characters and more: shorter ones may be part of a word."""
    lengths = sorted({len(name) for name in names if len(name) >= 3}, reverse=True)
    for match in _SURNAME.finditer(plain) if lengths else ():
        for length in lengths:
            if plain[match.start() : match.start() + length] in names:
                yield Span(match.start(), match.start() + length, "person_name")
                break


def _surnames_with_title(plain: str, titles: list[re.Match[str]], likely: Likely) -> Iterator[Span]:
    """Yield surnames that only a title makes personal: 李主任, 由张工复核, 小王."""
    for match in titles:
        start = _surname_before(plain, match.start())
        # 丙同学 before 丁同学: letters of an exam.
        if plain[start : match.start()] == "丁" and f"丙{match[0]}" in plain[max(0, start - _EXAM) : start]:
            continue
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
    for match in _SHORT_TITLE.finditer(plain) if _SHORT_NAME in likely else ():
        start = match.start() - 1
        known = start >= 0 and (
            plain[start] in PURE or (plain[start] in MIXED and plain[start : match.end()] not in _TRADES)
        )
        if known and _begins_here(plain, start):
            yield Span(start, match.start(), "person_name")
    for match in _FAMILIAR.finditer(plain) if _FAMILIAR_NAME in likely else ():
        if _begins_here(plain, match.start()) and cues.weak_after(cues.right_of(plain, match.end())):
            yield Span(match.start(1), match.end(1), "person_name")


def _surname_before(plain: str, end: int) -> int:
    """Return where the surname that ends at `end` begins; `end` itself where there is none."""
    if end >= 2 and plain[end - 2 : end] in COMPOUNDS:
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


def _without_surname(plain: str, likely: Likely) -> Iterator[Span]:
    """Yield transliterated and Tibetan names: 约翰·史密斯, 阿不都·热合曼, 扎西平措."""
    for match in _TIBETAN.finditer(plain) if _TIBETAN_NAME in likely else ():
        start, end = match.span()
        if plain[start:end] in _TIBETAN_PARTS and plain[end : end + 2] in _TIBETAN_PARTS:
            yield Span(start, end + 2, "person_name")
    if _MONGOLIAN_NAME in likely:
        yield from _mongolian(plain)
    if _FOREIGN_NAME not in likely:
        return
    for match in _FOREIGN.finditer(plain):
        parts = re.split(f"[{_DOTS}]", match[0])
        first, last = _foreign_tail(parts[0]), _foreign_head(parts[-1]).removesuffix("于")
        # 关于古斯塔夫·埃菲尔, 一本阿加莎·克里斯蒂: a word ends inside.
        before = match.start() + len(parts[0]) - len(first)
        if len(first) > 2 and before and model().words.get(plain[before - 1 : before + 1]) in _FREQUENT:
            first = first[1:]
        inner = all(len(_foreign_head(part)) == len(part) for part in parts[1:-1])
        if first and last and inner and len(first) + len(last) >= 3:
            start, end = match.start() + len(parts[0]) - len(first), match.end() - len(parts[-1]) + len(last)
            public = is_public_foreign(plain[start:end])
            yield Span(start, end, PUBLIC_PERSON if public else "person_name")


def _mongolian(plain: str) -> Iterator[Span]:
    """Yield Mongolian names: 斯琴高娃·乌兰; of one part only where a person is spoken of."""
    for match in _MONGOLIAN.finditer(plain):
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
