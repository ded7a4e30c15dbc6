"""Read the chosen letter out of a generated answer, in Chinese or English.

In order: what a conclusion states (所以选 B, therefore the answer is B), what any statement says (答案是 B, B 正确, the
answer is B), the letter an answer begins with, the only letter it mentions. Statements that name different letters
give none: an answer is never guessed. Forms follow the patterns of the official codes of C-Eval
(`code/evaluator_series/evaluators`) and CMMLU (`src/mp_utils.py`), which guess at random where nothing matches.
"""

import bisect
import re
import unicodedata

from tasks.chat.conversation import CLOSE, OPEN

#: How far before a statement its word of conclusion may stand, in characters.
LONGEST_CLAUSE = 200
#: Marks that models put around a letter: Markdown, LaTeX, quotation.
_DECORATION = re.compile(r"\\(?:boxed|text|mathrm|textbf)\b|[*_`$#{}\"'“”‘’「」『』<>]")
#: Runs of white space become one: patterns stay linear in the length of the answer.
_BLANKS = re.compile(r"\s+")
_BRACKETED = re.compile(r"[(\[【]\s*([A-D])\s*[)\]】]")

#: One letter, or several joined: several are read as no answer.
_SEVERAL = r"\s*(?:[、/和与或及&+]|and|or|,(?=\s*[A-D]\s*(?:$|[。.、,;])))?\s*"
#: "A patient": the English article, no letter; "A is", "A because" are letters.
_NO_ARTICLE = r"(?!(?<=A)\s+(?!(?:is|was|would|or|and|because|since|as)\b)[a-z])"
_LETTER = rf"(?<![A-Za-z])(?P<letter>[A-D](?:{_SEVERAL}[A-D](?![A-Za-z])){{0,3}})(?![A-Za-z0-9]){_NO_ARTICLE}"
_NOUN = r"(?:选项|答案|一项|项|说法|选择)"
_STATEMENTS = (
    # 答案是 B · 答案：B · 正确答案应该选 B · 答案选项为 B
    rf"答案{_NOUN}?\s*(?:应该|应当|应|可能|就|便)?\s*(?:是|为|选择?)?\s*:?\s*{_NOUN}?\s*:?\s*{_LETTER}",
    # 正确的是 B · 不正确的一项为 B · 错误的选项是 B · 符合题意的是 B
    rf"(?:正确|错误|不对|有误|符合题意|合适|不当)的?\s*{_NOUN}?\s*(?:应该|应)?\s*(?:是|为|:)\s*:?\s*{_NOUN}?\s*{_LETTER}",
    # 选 B · 应选择 B · 故选：B · 选项为 B
    rf"(?<![不别勿])(?:应|故|所以|我|请|可|就|只能|因此)?\s*选(?:择|取|项为|项是)?\s*{_NOUN}?\s*:?\s*{_LETTER}(?!\s*(?:项)?\s*(?:错|不))",
    # B 正确 · B 项是正确答案 · B 符合题意 · B 当选
    rf"{_LETTER}\s*(?:选项|项)?\s*(?:的?(?:说法|描述|表述))?\s*(?:是|为)?\s*(?:最)?(?:正确|对的|符合题意|当选)",
    # the answer is B · correct option: (B) · choose B · B is correct
    rf"(?i:answer|option|choice)\s*(?:(?i:is|would be|should be)|[:=])+[\s:]*(?i:option|choice|letter)?[\s:]*{_LETTER}",
    rf"(?i:choose|select|pick|go with)\s+(?i:option|choice|answer)?\s*:?\s*{_LETTER}",
    rf"{_LETTER}\s+(?i:is|would be)\s+(?i:the\s+)?(?i:correct|right|best)",
)
_STATEMENT = [re.compile(pattern) for pattern in _STATEMENTS]
_CONCLUSION = re.compile(
    r"(?:所以|因此|综上|故|最终|总之|由此|可见|(?i:therefore|thus|hence|finally|in conclusion|final answer|so the))"
)
_NEXT_SENTENCE = re.compile(r"[。;!?！？\n]|\.\s")
_BEGINS = re.compile(rf"^\s*(?:选项|选|答|Option|Choice)?\s*:?\s*{_LETTER}")
_ALONE = re.compile(rf"(?<![A-Za-z0-9])([A-D])(?![A-Za-z0-9]){_NO_ARTICLE}")
_NEGATED = re.compile(r"(?:不是|不选|排除|并非|not|isn't)\s*(?:选项|option)?\s*([A-D])(?![A-Za-z])")
_WRONG = re.compile(
    r"(?<![A-Za-z])([A-D])\s*(?:选项|项)?\s*(?:是|is)?\s*(?:错|不对|不正确|不选|wrong|incorrect|false|not\b)"
)
_OPTION_LINE = re.compile(r"^\s*([A-D])\s*[.、:)]", re.MULTILINE)


def extract_letter(text: str) -> str | None:
    """Return the letter an answer gives, or None where it gives none or more than one.

    Args:
        text: what the model generated; reasoning up to `</think>` is passed over, unclosed reasoning is no answer.
    """
    plain = _plain(text)
    if plain is None:
        return None
    if len(bare := re.sub(r"[\W_]", "", plain)) == 1 and bare.upper() in "ABCD":
        return bare.upper()
    if stated := _statements(plain):
        sentences = [0, *(match.end() for match in _NEXT_SENTENCE.finditer(plain))]
        concluded = [letters for position, letters in stated if _concludes(plain, sentences, position)]
        return _only(concluded[-1:]) if concluded else _only([letters for _, letters in stated])
    return _beginning(plain) or _only_mention(plain)


def _plain(text: str) -> str | None:
    """Return the answer in half-width letters without decoration; None where the reasoning never ended."""
    if CLOSE in text:
        text = text.rpartition(CLOSE)[2]
    elif OPEN in text:
        return None
    # NFKC makes Ａ A, （ (, ： :, and circled Ⓐ A.
    plain = _DECORATION.sub(" ", unicodedata.normalize("NFKC", text))
    return _BLANKS.sub(lambda match: "\n" if "\n" in match[0] else " ", _BRACKETED.sub(r" \1 ", plain))


def _statements(plain: str) -> list[tuple[int, str]]:
    """Return position and letters of everything that states an answer, in order."""
    found = {match.start("letter"): match["letter"] for pattern in _STATEMENT for match in pattern.finditer(plain)}
    return sorted(found.items())


def _concludes(plain: str, sentences: list[int], position: int) -> bool:
    """Return whether a word of conclusion stands before a statement in its sentence.

    Args:
        plain: the answer.
        sentences: where each sentence begins.
        position: of the statement.
    """
    start = sentences[bisect.bisect_right(sentences, position) - 1]
    return _CONCLUSION.search(plain, max(start, position - LONGEST_CLAUSE), position) is not None


def _only(letters: list[str]) -> str | None:
    """Return the one letter that all statements name, or None."""
    named = {letter for several in letters for letter in several if letter in "ABCD"}
    return named.pop() if len(named) == 1 else None


def _beginning(plain: str) -> str | None:
    """Return the letter an answer begins with; an options list, `A or B` and the English article are none."""
    match = _BEGINS.match(plain)
    if not match or len(match["letter"]) > 1 or len(set(_OPTION_LINE.findall(plain))) > 1:
        return None
    return None if match["letter"] in _ruled_out(plain) else match["letter"]


def _only_mention(plain: str) -> str | None:
    """Return the letter an answer mentions where it mentions one and does not rule it out."""
    named = set(_ALONE.findall(plain)) - _ruled_out(plain)
    return named.pop() if len(named) == 1 else None


def _ruled_out(plain: str) -> set[str]:
    """Return the letters that an answer calls wrong."""
    return {*_NEGATED.findall(plain), *_WRONG.findall(plain)}
