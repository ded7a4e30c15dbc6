"""Sentences that state an answer to a four-option question: what they look like, and what makes one no statement.

A statement names its letters behind a word for answering (答案, 选, the answer is), or says an option is the answer.
Said of others (很多同学会选B), of a case (如果选A), as a question or as a denial (不选A), it states nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Letters an option may have; those that the question does not offer are read too, so that `答案是E` is no answer.
NAMES = "A-H"
_BLANK = r"[^\S\n]*"
_JOIN = (
    rf"(?:(?:{_BLANK}(?:选?项)?{_BLANK}(?:[、/&+]|和|与|或者?|以?及|还是|\b(?:and|or)\b)|"
    rf"{_BLANK},(?:{_BLANK}(?:and|or)\b)?)?+{_BLANK}(?:(?:选项|(?i:options?)\b){_BLANK})?"
    rf"|{_BLANK}\n\s*(?=[{NAMES}]\s*(?:\n|\Z)))"
)
#: "A patient": the English article, no letter; "A is", "A because" are letters.
_NO_ARTICLE = (
    r"(?!(?<=A)[^\S\n]+(?!(?:is|was|were|would|must|may|can|cannot|or|and|but|because|since|as|for|due|seems?|"
    r"fits|matches|"
    r"satisfies|describes|states|says)\b)[a-z])"
)
RUN = rf"(?<![A-Za-z0-9°])(?P<run>[{NAMES}](?:{_JOIN}[{NAMES}](?![A-Za-z])){{0,7}}+)(?![A-Za-z0-9+#]){_NO_ARTICLE}"
#: A small letter is one only where nothing follows it: "answer: a)", not "the answer is a bit ...".
_SMALL = r"(?<![A-Za-z0-9])(?P<small>[a-h])(?=\s*(?:\Z|[)\].,;。、\n]))"
_NAMED = rf"(?:{RUN}|{_SMALL})"

_IS = r"(?:[^\S\n]*(?:是|为|选择|选(?!项)|应|就|便|:|=|[-—–]+>?|→|\||选项|一项|项))*\s*"
_QUALITY = (
    r"(?:正确|错误|不对|有误|符合|合适|适合|适当|恰当|不当|属于|包括|准确|合理|合适|不符|无关|成立|一致|可行|"
    r"对应|最佳|最优|"
    r"体现|反映|[对错](?=的))"
)
_ADVERB = r"therefore|thus|hence|clearly|likely|probably|definitely|simply|then|actually|really|indeed|in fact"
_ANSWER_WORDS = (
    r"(?:answers?|ans|options?|choices?|letter|label|solution|pick|guess|verdict|conclusion|result|selected|response|"
    r"correct)"
)
_STATEMENTS = (
    # 答案是 B · 正确答案应该选 B · 【答案】B · 答案显然是 B · 结论：B
    rf"(?:答案|正解|结论|结果|回答)(?P<filler>[\u4e00-\u9fff]{{0,8}}?){_IS}{_NAMED}",
    rf"(?<![\u4e00-\u9fff])答\s*:\s*{_NAMED}",
    # 选 B · 应选择 B · 故选：B · 选的是 B · 选项：B
    rf"(?:选(?!项)|填|勾)(?:择|取|定|了)?{_BLANK}(?:题?的?应?(?:是|为))?{_BLANK}:?{_BLANK}(?:选项|"
    rf"答案)?{_BLANK}:?\s*{_NAMED}",
    rf"也?(?:可能|可以|许)(?:是|为|选){_BLANK}{RUN}",
    rf"选项{_BLANK}:\s*{_NAMED}(?=\s*(?:\Z|[。.,;、!\n}}]))",
    rf"(?:只有|仅有?){_BLANK}(?:选项)?{_BLANK}{RUN}(?=\s*(?:选?项)?\s*(?:\Z|[。.,;!\n]))",
    # 正确的是 B · 不正确的一项为 B · 正确选项应为 B · 符合题意的是 B
    rf"(?P<asked>(?:不太?|最不|没有?|未)?{_QUALITY}[^。;,!?\nA-H]{{0,12}}?的?)(?:选项|答案|一项|项|说法|选择|叙述)?"
    rf"{_BLANK}(?:应该|应当|应)?(?:是|为|:|(?<=正确选项)|(?<=正确选项 )){_BLANK}:?{_BLANK}"
    rf"(?:选项|一项|项)?{_BLANK}{RUN}",
    # 而是 B · 对应选项 B · 只剩下 B · 更正：应为 B
    rf"(?:而(?:是|为|应选)|对应(?:的?是)?(?:选项)?|剩下?了?(?:选项)?|(?:更正|修正|"
    rf"纠正)[为:]?{_BLANK}(?:应[该当]?[是为])?)"
    rf"{_BLANK}{RUN}(?=\s*(?:\Z|[。.,;!\n]|选?项))",
    # A 项错误，当选 · D 符合题意
    rf"{RUN}(?P<fits>(?=[^。;A-H\n]{{0,20}}?(?:(?<![不均])当选|(?<!不)符合题意)))",
    # A 项与事实不符，故为本题答案 · D is the answer
    rf"{RUN}(?P<fits>(?=[^。;A-H\n]{{0,25}}?(?<!不)(?<!非)(?:是|为|即|才是)(?:本题|正确|该题|最终|标准|"
    rf"此题)的?(?:答案|正解|选项|选择)|\s*才是正解"
    rf"|\s+(?i:is|would be|must be)\s+(?i:therefore\s+)?(?i:the)\s+(?i:correct |right |best |better |only )?"
    rf"(?i:answer|choice|option|one|pick)\b))",
    # 所以是 B · 因此 B
    rf"(?:所以|因此|故|那么|最终|总之)(?:就|应该?|只能|只有|便)*(?:是|为)?{_BLANK}(?:选项)?{_BLANK}{RUN}"
    rf"(?=\s*(?:\Z|[。.,;!\n]|选?项{_BLANK}(?:\Z|[。.,;!\n])))",
    # the correct answer to this is therefore B · Answer: (B) · "correct_answer": "B"
    rf"(?i:\b{_ANSWER_WORDS}\b)(?P<words>(?:[^\S\n]+(?!(?i:is|are|would|should|must|not|"
    rf"isn't)\b)[a-z]+){{0,5}}?)\.?{_BLANK}"
    rf"(?:(?i:is|are|would be|should be|must be|was|'s)\b|[:=]|[-—–]+>?)+[\s:\-]*"
    rf"(?:(?i:{_ADVERB}|option|choice|letter|answer|the)\b[\s:]*)*"
    rf"{_NAMED}",
    # the one that is false is B · the exception is D · the only option that fits is B
    rf"(?i:\b(?:correct|incorrect|false|true|right|wrong|best|exception|appropriate|accurate|fits|suitable)\b)"
    rf"(?:[^\S\n]+(?!(?i:is)\b)[a-z]+){{0,4}}[^\S\n]+(?i:is){_BLANK}:?{_BLANK}(?i:option|choice|"
    rf"letter)?{_BLANK}{RUN}",
    rf"(?i:\b(?:choos(?:e|ing)|select(?:ing)?|pick(?:ing)?|say|go(?:ing)? with|opt for|lean(?:ing)? towards?|"
    rf"leav(?:es?|ing)(?: us with)?|left with|match(?:es|ing)?|correspond(?:s|ing)? to|has to be|"
    rf"remaining (?:option|choice) is))"
    rf"[^\S\n]+(?i:option|choice|answer|letter)?{_BLANK}:?{_BLANK}{RUN}",
    rf"(?i:\b(?:it is|it's|that is|that's|it must be|it should be|(?:it|that) would be))[^\S\n]+"
    rf"(?i:(?:{_ADVERB})[^\S\n]+)?"
    rf"(?i:option|choice)?{_BLANK}"
    rf"{RUN}(?=\s*(?:\Z|[.。,;!\n]|(?i:because|since|as)\b))",
    rf"(?i:\bnot\b[^.\n]{{0,20}}\bbut(?: rather)?)[^\S\n]+(?i:option)?{_BLANK}{RUN}",
    rf"(?i:\b(?:therefore|thus|hence|so)\b),?[^\S\n]+(?i:option|choice)?{_BLANK}{RUN}(?=\s*(?:\Z|[。.,;!\n]))",
    rf"(?i:\bcorrection){_BLANK}:{_BLANK}{RUN}",
    rf"\bQ:[^\n]{{0,400}}\s*\bA:{_BLANK}(?P<run>[{NAMES}])\s*\Z",
)
_STATEMENT = [re.compile(pattern) for pattern in _STATEMENTS]

#: Words that hold a negation and deny nothing.
_NO_DENIAL = re.compile(
    r"不难|毫无疑问|无疑|不出意外|不用说|无论如何|没错|毫无悬念|不言而喻|(?i:no doubt|not hard to see)"
)
_DENIED_BEFORE = re.compile(
    r"(?:不|别|勿|没|莫|非|无法|难以|排除)(?:能|会|应该?|该|可以?|要|建议|宜|得|当|再|轻易|确定|肯定|认为|觉得|"
    r"说|断定|判断|同意|赞成|支持|推荐|认同|主张|是|为)*"
    r"\s*\Z|(?:误|错)\Z|(?i:\b(?:not|never|cannot|can't|isn't|wouldn't|don't|doesn't|false that|rule out|"
    r"rather than|avoid)\b)"
    r"[^.,;\n]{0,40}\Z"
)
_DENIED_AFTER = re.compile(
    r"\s*(?:选项|项)?(?:的(?:说法|看法|观点)|,?这?也?是|显然|,?都|,?均)*\s*(?:错|不对|不正确|不行|不合适|"
    r"不可|有误|不妥)"
    r"|(?i:\s*(?:would be|is|was|were)\s+(?:a mistake|wrong|incorrect|not))"
)
#: Remarks about the options that are not the answer.
_NOT_ASKED_FOR = re.compile(r"不符合?题|与题意不符|错误(?=\Z)(?!的)|错误选项")
#: A case, a question, somebody else's or an earlier opinion.
_DISCOUNTED_BEFORE = re.compile(
    r"如果|假如|假设|倘若|要是|与其|否则|若|是否|是不是|认为(?=.*的(?:说法|看法))|同学|考生|学生|有人|有些人|"
    r"人们|容易|易[误错混]|误选|错选|"
    r"乍一看|一开始|最初|最开始|起初|之前|前面|先前|看似|原答案|网上|有说法|一般认为|(?i:\b(?:if|otherwise|"
    r"suppose|assum\w+|whether|students?|people|some (?:might|may|would)|"
    r"at first|initially|tempt\w+|previously|i said|earlier|might think|could argue|one might)\b)|还是\s*\Z"
)
_DISCOUNTED_AFTER = re.compile(
    r"\s*项?的(?:人|考生|同学|学生|比例|概率)|\s*(?:吗|么)?\?|(?i:\s*only if\b)|\s*还是|\s*(?:时|的话)"
)
_CLAUSE_START = re.compile(r"[。;!?\n,:]|\.\s|…")
_CONCLUSION = re.compile(
    r"所以|因此|综上|故|最终|总之|由此|可见|因而|从而|(?i:\b(?:therefore|thus|hence|finally|in conclusion|"
    r"final answer|so)\b)"
)
_SENTENCE_START = re.compile(r"[。;!?\n]|\.\s")
#: How far before a statement its word of conclusion may stand, in characters.
LONGEST_CLAUSE = 200


@dataclass(frozen=True)
class Statement:
    """One sentence that names letters as the answer.

    Args:
        start: of the words for answering.
        end: behind the last letter.
        letters: named, one or several joined.
        kind: stated, denied, or discounted (a case, a question, somebody else's opinion).
        concludes: whether a word of conclusion stands before it in its sentence.
    """

    start: int
    end: int
    letters: frozenset[str]
    kind: str
    concludes: bool


def statements(plain: str) -> list[Statement]:
    """Return everything that states or denies an answer, in order, one statement a letter.

    Args:
        plain: the answer in half-width simplified characters, without decoration.
    """
    found: dict[int, Statement] = {}
    for pattern in _STATEMENT:
        for match in pattern.finditer(plain):
            statement = _read(match, plain)
            place = match.start("run") if match["run"] else match.start("small")
            if statement and (place not in found or statement.kind != "stated"):
                found[place] = statement
    return [found[place] for place in sorted(found)]


def joined_letters(run: str, behind: str) -> tuple[str, int]:
    """Return the letters a run names and its length: a comma or a space joins only where the clause ends behind it.

    Args:
        run: letters and what joins them.
        behind: the text behind the run.
    """
    loose = re.search(r"(?<=[A-Ha-h])(?:\s*,\s*|[^\S\n]+)(?=[A-H])", run)
    if loose and not re.match(r"\s*(?:\Z|[。.;!)\n])", behind):
        run = run[: loose.start()]
    return "".join(re.findall(f"(?i:[{NAMES}])(?![A-Za-z])|[{NAMES}]", run)), len(run)


def subjects(run: str, behind: str) -> str:
    """Return the letters that a verb behind a run speaks of: of several joined by commas, `is` means the last one.

    Args:
        run: letters and what joins them.
        behind: the text behind the run.
    """
    letters, last = (re.findall(f"[{NAMES}]", part) for part in (run, run.rpartition(",")[2]))
    single = re.match(r"\s*(?:(?i:is|was|must|would|best)\b|才|最|更)", behind)
    return "".join(last if single and len(last) == 1 else letters)


def _read(match: re.Match[str], plain: str) -> Statement | None:
    """Return the statement of a match; None where its words between hold something else."""
    group = "run" if match["run"] else "small"
    filler = match.groupdict().get("filler") or ""
    if re.search("解析|分析|分别|包括|依据|选择题", filler):
        return None
    behind = plain[match.end(group) : match.end(group) + 40]
    letters, length = joined_letters(match[group], behind)
    end = match.start(group) + length
    if match.groupdict().get("fits") is not None:
        letters, end = subjects(match[group], behind), match.end(group)
    kind = _kind(plain, match, end)
    return Statement(match.start(), end, frozenset(letters.upper()), kind, _concludes(plain, match.start(group)))


def _kind(plain: str, match: re.Match[str], end: int) -> str:
    """Return whether letters are stated, denied or discounted by what stands around them in their clause."""
    clause = _before(plain, match.start(), _CLAUSE_START)
    near = _NO_DENIAL.sub("", clause)
    groups = match.groupdict()
    filler = groups.get("filler") or ""
    # A 项错误，当选: what is said of the option is what the question asks for.
    behind = "" if groups.get("fits") is not None else plain[end : end + 40]
    if _NOT_ASKED_FOR.match(groups.get("asked") or ""):
        return "denied"
    if _DENIED_BEFORE.search(near) or _DENIED_AFTER.match(behind) or re.search("[不非没]", _NO_DENIAL.sub("", filler)):
        return "denied"
    if _DISCOUNTED_BEFORE.search(clause) or _DISCOUNTED_AFTER.match(behind):
        return "discounted"
    return "stated"


def _concludes(plain: str, place: int) -> bool:
    """Return whether a word of conclusion stands before a place in its sentence."""
    return _CONCLUSION.search(_before(plain, place, _SENTENCE_START)) is not None


def _before(plain: str, place: int, border: re.Pattern[str]) -> str:
    """Return the text between the last border and a place, at most LONGEST_CLAUSE characters."""
    text = plain[max(0, place - LONGEST_CLAUSE) : place]
    ends = [match.end() for match in border.finditer(text)]
    return text[ends[-1] :] if ends else text


def standing_letters(plain: str) -> Iterator[str]:
    """Yield every letter that stands alone in a text."""
    for match in re.finditer(RUN, plain):
        yield from re.findall(f"[{NAMES}]", match["run"])
