"""Whether a sentence really stands in the passages it cites, by rules a person can apply with a pencil.

A sentence is held to one piece of a passage, a sentence or a table's row: its numbers with their units must stand there
exactly, on the same side of more or less, what it denies must be denied there and nothing denied there may be affirmed,
and most of its words must be there, or in the piece beside it or the heading. A sentence with a number may use no word
that only another piece has: the dose of one row is not told with the age of the next.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.exams.pack.quantities import Quantity, quantities
from tasks.exams.pack.spelling import cleaned
from tasks.retrieval.passages import Passage, sentences
from tasks.retrieval.words import words

CITATION = re.compile(r"[\[［【]\s*(\d{1,2})\s*[\]］】]")
_BEHIND_STOP = re.compile(r"([。！？；.!?;]+[”’\"']?)\s*((?:[\[［【]\s*\d{1,2}\s*[\]］】]\s*)+)")
_BULLET = re.compile(r"^\s*(?:[-*+•>]|\d{1,2}[.)、](?!\d)|[（(]\d{1,2}[)）])\s*")
_RULE = re.compile(r"^[\s|:-]+$")
_DENIES = re.compile(r"[不未无勿没]([\u4e00-\u9fff]{2})")
_DENYING = frozenset({"not", "no", "never", "without", "cannot", "nor", "neither"})
_LATIN = re.compile(r"[a-z]+(?:'t)?")
#: Characters that join words: with or without them a sentence says the same.
_JOINS = re.compile(r"[的了是为在约将则请可]")
#: How many Latin words behind a denial are denied: without official instruction.
_REACH = 2
#: Which side of a number is meant, by the words before it and by those behind it.
_BEFORE_IT = {
    "below": r"[不未]超过|不高于|不大于|不足|至多|最多|(?<!不)(?:低于|小于|少于)|未达|within"
             r"|at most|up to|no more than|not exceed\w*|below|under|(?<!no )less than",
    "above": r"不低于|不少于|不小于|至少|(?<![不未])(?:超过|高于|大于)|(?<!未)达到"
             r"|at least|over|above|no less than|(?<!no )more than|(?<!not )exceed\w*",
    "earlier": r"(?<!以)前|before", "later": r"(?<!以)后|after",
}  # fmt: skip
_BEHIND_IT = {
    "below": r"以下|以内|之内|内|or less|or below", "above": r"以上|及以上|or more|or above|or over",
    "earlier": r"以?前|之前|before", "later": r"以?后|之后|after",
}  # fmt: skip
_SIDES = [(side, re.compile(rf"(?:{words_})[^\d]{{0,4}}$")) for side, words_ in _BEFORE_IT.items()]
_SIDES_BEHIND = [(side, re.compile(rf"^ ?[岁个名人]?(?:{words_})")) for side, words_ in _BEHIND_IT.items()]
#: What speaks against a piece, the farther from it the earlier.
_NEARER = ("words", "number", "side", "denial", "mixed")
_LOOK_BACK, _LOOK_AHEAD = 14, 10


@dataclass(frozen=True)
class Said:
    """One sentence of an answer.

    Args:
        text: without its citations.
        cited: numbers of the passages it names, or that it was found in where it named none.
        why: None where it is supported; else no_such_passage, words, number, side, denial or mixed.
    """

    text: str
    cited: tuple[int, ...]
    why: str | None


def held_to(answer: str, passages: Sequence[Passage], least_agreement: float) -> list[Said]:
    """Return every sentence of an answer with the passages that support it, or why they do not.

    Args:
        answer: as the model gave it, without its thought.
        passages: as shown, numbered from 1.
        least_agreement: share of a sentence's words that must stand where it is held to.
    """
    found = []
    for sentence in sentences(_BEHIND_STOP.sub(r"\2\1", answer)):
        cited = tuple(dict.fromkeys(int(at[1]) for at in CITATION.finditer(sentence)))
        text = re.sub(r"\s+([。！？；.!?;])", r"\1", _BULLET.sub("", CITATION.sub("", sentence))).strip()
        if words(text) or re.search(r"\w", text):
            found.append(_said(text, cited, passages, least_agreement))
    return found


def pieces_of(passage: Passage) -> list[str]:
    """Return a passage's sentences and its tables' rows, each row behind the table's head."""
    found: list[str] = []
    head = ""
    for line, following in pairwise([*passage.text.split("\n"), ""]):
        if not line.startswith("|"):
            head = ""
            found += sentences(line)
        elif _RULE.match(line):
            continue
        elif _RULE.match(following) and following.startswith("|"):
            head = line
        else:
            found.append(f"{head}\n{line}" if head else line)
    return found


def _said(text: str, cited: tuple[int, ...], passages: Sequence[Passage], least_agreement: float) -> Said:
    """Return a sentence and what became of it: held to what it cites, or to each passage where it cites none."""
    if any(not 1 <= number <= len(passages) for number in cited):
        return Said(text, cited, "no_such_passage")
    why = "words"
    for number in cited or range(1, len(passages) + 1):
        problem = _problem(text, passages[number - 1], least_agreement)
        if problem is None:
            return Said(text, (number,), None)
        why = max(why, problem, key=_NEARER.index)
    return Said(text, cited, why)


def _problem(sentence: str, passage: Passage, least_agreement: float) -> str | None:
    """Return why no piece of a passage supports a sentence, from the nearest one; None where one does."""
    pieces = pieces_of(passage)
    found = "words"
    for place, piece in enumerate(pieces):
        beside = pieces[place + 1] if place + 1 < len(pieces) and "|" not in piece else ""
        around = f"{passage.heading}\n{piece}"
        problem = next(_problems(sentence, piece, f"{around}\n{beside}", least_agreement), None)
        if problem is None and _is_mixed(sentence, around, [one for one in pieces if one != piece]):
            problem = "mixed"
        if problem is None:
            return None
        found = max(found, problem, key=_NEARER.index)
    return found


def _problems(sentence: str, piece: str, around: str, least_agreement: float) -> Iterator[str]:
    """Yield what speaks against a sentence being said in a piece."""
    asked, given = cleaned(sentence), cleaned(piece)
    own = _content(sentence)
    if not own or len(own & _content(around)) < least_agreement * len(own):
        yield "words"
    there = [(_amount(one), _sides(given, one)) for one in quantities(given)]
    for one in quantities(asked):
        sides = [known for amount, known in there if amount == _amount(one)]
        if not sides:
            yield "number"
        elif not any(not known or _sides(asked, one) <= known for known in sides):
            yield "side"
    if _turned(asked.casefold(), cleaned(around).casefold()):
        yield "denial"


def _is_mixed(sentence: str, around: str, others: Sequence[str]) -> bool:
    """Tell whether a sentence with a number has words of other pieces that its own piece and the heading lack."""
    if not quantities(cleaned(sentence)):
        return False
    elsewhere = {word for one in others for word in _content(one.rpartition("\n")[2]) if len(word) > 1}
    return bool((_content(sentence) - _content(around)) & elsewhere)


def _content(text: str) -> set[str]:
    """Return the words of a text without its numbers, which are held to more than this, and what joins words."""
    return {word for word in words(_JOINS.sub(" ", text)) if not word.startswith(("=", "[")) and not word[0].isdigit()}


def _amount(one: Quantity) -> tuple[float, float, str]:
    """Return a number with its unit as it was written, but for the unit's spelling: 0.05 Sv is not 50 mSv here."""
    return one.low, one.high, one.unit.symbol if one.unit else ""


def _sides(text: str, one: Quantity) -> set[str]:
    """Return on which sides of a number a text means: more or less, earlier or later; none where it says none."""
    before, behind = text[max(0, one.start - _LOOK_BACK) : one.start].lower(), text[one.end : one.end + _LOOK_AHEAD]
    found = {side for side, pattern in _SIDES if pattern.search(before)}
    return found | {side for side, pattern in _SIDES_BEHIND if pattern.search(behind.lower())}


def _turned(sentence: str, around: str) -> bool:
    """Tell whether a sentence denies what the text around does not, or affirms what it only denies."""
    denied_here, affirmed_here = _denied(sentence)
    denied_there, affirmed_there = _denied(around)
    return bool(denied_here - denied_there or (affirmed_here & denied_there) - affirmed_there)


def _denied(text: str) -> tuple[set[str], set[str]]:
    """Return what a text denies and what it says without: pairs of characters, and Latin words."""
    denied = {at[1] for at in _DENIES.finditer(text)}
    places = {at.start(1) for at in _DENIES.finditer(text)}
    affirmed = {text[place : place + 2] for place in range(len(text) - 1) if place not in places}
    latin = _LATIN.findall(text)
    for place, word in enumerate(latin):
        before = latin[max(0, place - _REACH) : place]
        (denied if any(one in _DENYING or one.endswith("n't") for one in before) else affirmed).add(word)
    return denied, affirmed
