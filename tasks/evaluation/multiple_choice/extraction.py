"""Read the chosen letter out of a generated answer, in Chinese or English.

In order: the letter alone on the first line; what is stated (答案是 B, 故选 B, the answer is B, a LaTeX box: the last
one said as a revision or a conclusion, else all must agree); a first line that begins with a letter (B. 隐蔽); the only
option called right (C 对, C is correct); a clause that is the only letter there is. Remarks about other options
(A 项正确) never beat a statement. Statements that name different letters give none: an answer is never guessed. Forms
follow the patterns of the official codes of C-Eval (`code/evaluator_series/evaluators`) and CMMLU (`src/mp_utils.py`),
which guess at random where nothing matches.
"""

import bisect
import re
import unicodedata

from tasks.core.folding import simplified
from tasks.evaluation.multiple_choice.statements import (
    LONGEST_CLAUSE,
    RUN,
    Statement,
    joined_letters,
    standing_letters,
    statements,
    subjects,
)
from tasks.evaluation.thinking import split_thinking
from tasks.exams.schema import LETTERS

_FRAMED = (
    # The answer in a frame of its own: LaTeX, a tag, two brackets.
    re.compile(r"\\(?:boxed|fbox)\s?\{\s?(?:\\[a-z]{1,9}\s?\{){0,3}([^{}]{0,80})\}{1,4}"),
    re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL),
    re.compile(r"\[\[([^\[\]]{0,40})\]\]"),
)
_TAG = re.compile(r"</?\w{1,12}>|<\|[^|<>]{1,30}\|>")
#: Marks that models put around a letter: Markdown, LaTeX, quotation.
_DECORATION = re.compile(r"\\[a-zA-Z]+|\\[\[\]() ,;]|[*_`$#{}\"“”‘’「」『』《》<>\\]|(?<![A-Za-z])'|'(?![A-Za-z])")
_BRACKETED = re.compile(r"[(\[【]\s*([A-H](?:\s*[,、]\s*[A-H])*)\s*[)\]】]|[【】\[\]]")
_BRACKET_FIRST = re.compile(
    r"\A([^\w(（]*)[(（【\[]\s*([A-HＡ-Ｈ])\s*[)）】\]](?=\s*\w)(?!\s*(?:和|与|或|及|选?项|and\b|or\b|is\b|are\b))"
)
#: Runs of white space become one: patterns stay linear in the length of the answer.
_BLANKS = re.compile(r"\s+")

_PREFIX = (
    r"[^\w\n(]*(?:(?:第?\s*\d{1,3}\s*题?\s*[.、:)]|"
    r"(?:assistant|助手|模型|answer|答案?|选项?|我选|option|choice)\s*:?)\s*)?"
)
_ALONE_ON_FIRST_LINE = re.compile(rf"\A{_PREFIX}\(?([A-Ha-h])\s*(?:选?项)?[^\w\n×✗❌?]*(?:\n|\Z)", re.IGNORECASE)
_ALONE_ON_A_LINE = re.compile(r"^[^\w\n]*([A-H])[^\w\n×✗❌?]*$", re.MULTILINE)
#: What follows a letter that is part of a name: 维生素 would stand before, 点 or 公司 behind.
_NOUN_BEHIND = "点型股超级类组班公市国语细片线面集角区"
_BEGINS = re.compile(
    rf"\A{_PREFIX}{RUN}\s*(?:[。.、:),;]|\s[-—]+\s|——|\s+(?:because|since|as)\b)",
    re.IGNORECASE,
)
_MARKER = re.compile(
    r"(?:^|(?<=[\s。;.!?|(]))(?:选项|[Oo]ption )?([A-H])\s*(?:[。.、:)|](?!\d)|\s[-—]\s)", re.MULTILINE
)
_OR_ANOTHER = re.compile(r"(?:\b[Oo]r|或者?)\s*[A-H](?![A-Za-z])")
_EXPLAINS = re.compile(r"解析|解释|理由|分析|说明|(?i:explanation|reason|because)")

_NAME_BEFORE = re.compile(
    r"(?i:vitamin|plan|appendix|class|grade|hepatitis|type|point|fig(?:ure)?|table|group|part|section|"
    r"phase)\s*\Z|维生素\s*\Z|[图表角]\s*\Z"
)
_FITS = r"正确|对|合适|恰当|准确|合理|成立|符"
_VERDICT = re.compile(
    rf"{RUN}(?P<between>[^A-H。;!?\n]{{0,40}}?)(?:"
    rf"(?P<bad>(?:不|非|没有?|未|欠|过于)[\u4e00-\u9fff]{{0,2}}(?:{_FITS})|错|有误|×|✗|❌|排除|"
    rf"不(?=[正对符是成合当准能选行妥可恰])|[-:(]\s*否"
    r"|[-:(]\s*(?i:no)\b|(?i:\b(?:incorrect|false|wrong|not|ruled out|mistake|implausible)\b|n't))"
    r"|(?P<good>正确|对(?=[,。;!?的)\s\n]|\Z)|√|✓|✔|✅|恰当|合适|准确|合理|唯一|[最更](?:为|加)?符合|"
    r"符合(?=[,。;\s]|\Z)|[-:(]\s*是\s*(?=\)|\Z)|[-:(]\s*(?i:yes)\b"
    r"|(?i:\b(?:correct|right|true|best|better|most accurate|most appropriate|satisfies|the only)\b)))"
)
_RULED_OUT = re.compile(
    rf"(?:排除|不选|不是|并非|去掉|剔除|(?i:\b(?:eliminat\w+|rul\w+ out|exclud\w+)\b))\s*(?:选项|了)?\s*{RUN}"
)
_ASKS = re.compile(r"\s*(?:的?吗|么)?\s*\?|\s*的?吗")
#: B，以上都不是 · A 之外的都对: said of the options, or of all others.
_OF_OTHERS = re.compile(r"\s*,?\s*以上|\s*[之以]?外")
_CASE = re.compile(r"如果|假如|假设|若|同学|考生|(?i:\b(?:if|suppose|assum\w+|seem\w*|some)\b)")

#: What follows is the speaker's own view, unless it is hedged.
_CONTRAST = re.compile(r"但是?|然而|不过|其实|实际上|(?i:\b(?:but|however|in fact|actually)\b)")
_HEDGE = re.compile(r"也|可能|或许|也许|(?i:\b(?:may|might|could|perhaps|also|possibly)\b)")
_REVISION = re.compile(
    r"更正|纠正|修正|改选|改为|重新审题|哦不|(?:^|[。,;!?…—\n])\s*(?:啊|哦|嗯)?不(?:对|是)?\s*[,。…!]|等等|有误,|"
    r"(?i:\bwait\b|\bactually\b|\bcorrection\b|correct myself|on reflection|\bmisread\b|\bhmm,? no\b)"
)
_REFUSES = re.compile(
    r"(?:无法|不能|难以|没法|不好)(?:确定|判断|回答|提供|作答|得出|给出|说|抉择)|不知道|不确定|不清楚|(?:以上|"
    r"选项|四个)[^。\n]{0,8}不|"
    r"(?i:not sure|cannot|can't|unable|don't know|do not know|none of)"
)
_LEAD = (
    r"(?:我|个人|那么?|这|本题|该题|应该?|大概|估计|就|便|最后|只有?|所以|因此|故|嗯|当然|显然|肯定|一定|认为|"
    r"觉得|想|猜|蒙|感觉|的|答案)*"
    r"(?:是|为|剩下?|能是)?|(?:(?:so|thus|hence|therefore|probably|likely|definitely|clearly|i|think|believe|"
    r"guess|say|would|that|it|"
    r"is|must|be|should|well|hmm|okay|the|only|i'm|i'd|it's|that's|fairly|confident|to|sum|up|go|with|my|pick)\s+)*"
)
_CLAUSE = re.compile(
    rf"(?:\A|(?<=[。.,;:!?\n…]))\s*(?:{_LEAD})\s*(?P<noun>选项|option|choice)?\s*(?P<letter>[A-H])\s*(?:选项|"
    rf"项)?\s*[吧啦了呢啊哦呀嘛]*\s*"
    r"(?=\Z|[。.,;:!\n…(])",
    re.IGNORECASE,
)


def extract_letter(text: str, *, thinking_opened: bool = False) -> str | None:
    """Return the letter an answer gives, or None where it gives none or more than one.

    Args:
        text: what the model generated; reasoning up to `</think>` is passed over, unclosed reasoning is no answer.
        thinking_opened: whether the prompt itself already ended in the opening of a thought.
    """
    said, _ = split_thinking(text, opened=thinking_opened)
    if not said:
        return None
    letter = _chosen(_plain(said))
    return letter if letter in LETTERS else None


def _chosen(plain: str) -> str | None:
    """Return the letter of a plain answer, whether it is one of the options or not."""
    found = statements(plain)
    stated = [statement for statement in found if statement.kind == "stated"]
    revised = _revised(plain, stated)
    first = _first_line(plain)
    if first and not (revised and _REVISION.search(plain)):
        return first
    if stated:
        return _agreed(revised or stated)
    denied = {letter for statement in found if statement.kind == "denied" for letter in statement.letters}
    right, wrong = _verdicts(plain)
    if (begun := _beginning(plain)) and begun not in denied | (wrong - right):
        return begun
    if right:
        return right.pop() if len(right) == 1 else None
    return _only_clause(plain, denied | wrong)


def _plain(said: str) -> str:
    """Return an answer in half-width letters and simplified characters, without decoration."""
    for frame in _FRAMED:
        said = frame.sub(lambda match: f"\n最终答案:{match[1]}。\n", said)
    said = _BRACKET_FIRST.sub(r"\1\2. ", said)
    # NFKC makes Ａ A, （ (, ： :, and circled Ⓐ A.
    plain = unicodedata.normalize("NFKC", _TAG.sub(" ", said)).translate(simplified())
    plain = _BRACKETED.sub(lambda match: f" {match[1] or ''} ", _DECORATION.sub(" ", plain))
    return _BLANKS.sub(lambda match: "\n" if "\n" in match[0] else " ", plain).strip()


def _agreed(stated: list[Statement]) -> str | None:
    """Return the one letter that statements agree on: the last conclusion where there is any, else all of them."""
    concluded = [statement for statement in stated if statement.concludes]
    named = frozenset().union(*(statement.letters for statement in (concluded[-1:] or stated)))
    return next(iter(named)) if len(named) == 1 else None


def _revised(plain: str, stated: list[Statement]) -> list[Statement]:
    """Return what is stated behind the last revision, or contrast without a hedge, that states anything."""
    ordered = sorted(stated, key=lambda statement: statement.start)
    starts = [statement.start for statement in ordered]
    for match in reversed(list(_REVISION.finditer(plain))):
        if behind := ordered[bisect.bisect_left(starts, match.start()) :]:
            return behind
    for match in reversed(list(_CONTRAST.finditer(plain))):
        first = bisect.bisect_left(starts, match.end())
        if first == len(ordered) or starts[first] - match.end() > LONGEST_CLAUSE:
            continue
        if not _HEDGE.search(plain, match.end(), ordered[first].end):
            return ordered[first:]
    return []


def _first_line(plain: str) -> str | None:
    """Return the letter alone on the first line, unless others stand alone on lines of their own."""
    match = _ALONE_ON_FIRST_LINE.match(plain)
    if not match:
        return None
    others = set(_ALONE_ON_A_LINE.findall(plain)) - {match[1].upper()}
    return None if others else match[1].upper()


def _beginning(plain: str) -> str | None:
    """Return the letter an answer begins with; a list of options and several letters are none."""
    match = _BEGINS.match(plain)
    if not match:
        return None
    letters, _ = joined_letters(match["run"], plain[match.end("run") :])
    before = _EXPLAINS.split(plain, maxsplit=1)[0]
    markers = list(dict.fromkeys(_MARKER.findall(before)))
    listed = len(markers) > 1 and markers == sorted(markers)
    given = len(set(letters)) == 1 and not listed and not _OR_ANOTHER.search(plain, match.end())
    return letters.upper() if given else None


def _verdicts(plain: str) -> tuple[set[str], set[str]]:
    """Return the letters called right and those called wrong."""
    right: set[str] = set()
    wrong: set[str] = set()
    for match in _RULED_OUT.finditer(plain):
        wrong.update(re.findall("[A-H]", match["run"]))
    for match in _VERDICT.finditer(plain):
        before = plain[max(0, match.start() - 30) : match.start()]
        if _NAME_BEFORE.search(before) or _CASE.search(re.split(r"[。;,.!?\n]", before)[-1]):
            continue
        between = match["between"]
        if _ASKS.match(plain, match.end()) or _OF_OTHERS.match(between) or between[:1] in tuple(_NOUN_BEHIND):
            continue
        letters = set(subjects(match["run"], plain[match.end("run") : match.end("run") + 20]))
        (right if match["good"] else wrong).update(letters)
    return right, wrong


def _only_clause(plain: str, ruled_out: set[str]) -> str | None:
    """Return the letter that is a clause of its own where no other one is mentioned and nothing is refused."""
    if _REFUSES.search(plain):
        return None
    clauses = [match for match in _CLAUSE.finditer(plain) if not _is_cut(plain, match)]
    said = {match["letter"].upper() for match in clauses} - ruled_out
    mentioned = set(standing_letters(plain)) - ruled_out
    return said.pop() if len(said) == 1 and said >= mentioned else None


def _is_cut(plain: str, clause: re.Match[str]) -> bool:
    """Tell whether a text was cut where it began to speak of an option: `Let us see. Option A`."""
    return bool(clause["noun"]) and bool(plain[: clause.start()].strip()) and clause.end() == len(plain)
