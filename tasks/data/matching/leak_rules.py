"""Whether an evaluation item stands in a turn: how much of it, how telling that is, and its numbers and options.

A question is covered by pieces it has in common with the turn, two Chinese characters or five others and longer, close
together. Pieces survive what breaks long n-grams: a character changed here and there, words swapped, clauses moved.
What is covered is weighed: characters in phrases that many questions share ("下列说法正确的是") say little.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property

from tasks.data.matching.normalization import is_han_character

#: Shortest piece that counts, in texts that are mostly Chinese and in others.
CHINESE_PIECE, LATIN_PIECE = 2, 5
#: The pieces of a question must stand within this many times its length.
WINDOW_LENGTHS = 1.6
WINDOW_CHARACTERS = 8
#: From this weight of telling characters a question identifies itself: it may stand anywhere.
SELF_IDENTIFYING = 13.0
#: A short question must be the turn but for this share of its own weight, and this weight.
TURN_SHARE, TURN_WEIGHT = 0.6, 6.0
#: How much of a question must be covered when it is the whole turn.
WHOLE_TURN = 0.62
#: An option stands when it is there word for word or, if it weighs enough, covered this far.
OPTION_COVER, OPTION_WEIGHT = 0.7, 4.0
#: With more than this share of its options, less of the question is enough; together they must tell this much.
OPTION_SHARE = 0.5
WITH_OPTIONS = 0.3
TELLING_WITH_OPTIONS = 9.0
#: An item whose words tell little must be the turn: question, options and hardly anything else.
ITEM_COVER, ITEM_TURN = 0.6, 1.5
#: A question with this many numbers may lack one: a digit is a character that can be mistyped like another.
FORGIVING_NUMBERS = 3

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def weight_of(text: str) -> float:
    """Return how much a text says: a Chinese character 1, any other a third."""
    return sum(1.0 if is_han_character(character) else 1 / 3 for character in text)


class Question:
    """A normalized question, ready to be looked for in turns.

    Args:
        text: normalized, without spaces.
        telling: how telling each character is, 0 to 1; as long as `text`.
    """

    def __init__(self, text: str, telling: list[float]) -> None:
        self.text = text
        han = sum(map(is_han_character, text))
        self._piece = min(CHINESE_PIECE if 2 * han >= len(text) - han else LATIN_PIECE, len(text))
        self._weights = [1.0 if is_han_character(character) else 1 / 3 for character in text]
        self._telling = [weight * share for weight, share in zip(self._weights, telling, strict=True)]
        self.weight = sum(self._weights)
        self.identity = sum(self._telling)
        self.numbers = Counter(_NUMBER.findall(text))

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """Where each piece of the shortest length stands in the question."""
        places = defaultdict(list)
        for start in range(len(self.text) - self._piece + 1):
            places[self.text[start : start + self._piece]].append(start)
        return dict(places)

    def cover(self, turn: str) -> "Cover":
        """Return how much of the question stands in a turn, where it stands closest together."""
        piece, places = self._piece, self._places
        found = [place for place in range(len(turn) - piece + 1) if turn[place : place + piece] in places]
        if not found:
            return Cover(0.0, 0.0, 0.0, 0, 0)
        width = int(WINDOW_LENGTHS * len(self.text)) + WINDOW_CHARACTERS
        first, last = _densest(found, [turn[place : place + piece] for place in found], width)
        covered: set[int] = set()
        standing: set[int] = set()
        for place in found[first : last + 1]:
            standing.update(range(place, place + piece))
            for start in places[turn[place : place + piece]]:
                covered.update(range(start, start + piece))
        weight = sum(self._weights[place] for place in covered)
        telling = sum(self._telling[place] for place in covered)
        here = sum(1.0 if is_han_character(turn[place]) else 1 / 3 for place in standing)
        return Cover(weight / self.weight, telling, here, found[first], found[last] + piece)


@dataclass(frozen=True)
class Cover:
    """How much of a question stands in a turn.

    Args:
        share: of the question's weight.
        telling: weight of the telling characters covered.
        standing: weight of the turn's characters that cover it.
        start: first of them in the turn.
        end: behind the last.
    """

    share: float
    telling: float
    standing: float
    start: int
    end: int


@dataclass(frozen=True)
class Turn:
    """One normalized turn.

    Args:
        text: without spaces.
        asked: whether the user says it.
        weight: of the text.
    """

    text: str
    asked: bool
    weight: float


def judge(question: Question, options: list[Question], turn: Turn, containment: float) -> tuple[float, str] | None:
    """Return (share of the question, rule) if the item stands in a turn, None if it does not.

    Args:
        question: the item's question.
        options: its options.
        turn: one turn of a row.
        containment: the share of a question that makes a row a leak.
    """
    cover = question.cover(turn.text)
    if cover.share < min(WITH_OPTIONS, containment):
        return None
    rule = _by_options(question, options, turn, cover) if options else None
    if rule is None and _numbers_stand(question, turn.text[max(cover.start - 2, 0) : cover.end + 8]):
        rule = _by_question(question, turn, cover, containment)
    return (cover.share, rule) if rule else None


def _by_question(question: Question, turn: Turn, cover: Cover, containment: float) -> str | None:
    """Return the rule by which a question alone is a leak."""
    telling = cover.telling >= containment * max(question.identity, SELF_IDENTIFYING)
    if telling and cover.share >= containment:
        return f"at least {containment} of the question stands in the row"
    beside = turn.weight - cover.standing
    if turn.asked and cover.share >= WHOLE_TURN and beside <= TURN_SHARE * question.weight + TURN_WEIGHT:
        return "the short question is the user's turn"
    return None


def _by_options(question: Question, options: list[Question], turn: Turn, cover: Cover) -> str | None:
    """Return the rule by which a question with its options is a leak."""
    total = len(question.text) + sum(len(option.text) + WINDOW_CHARACTERS for option in options)
    around = turn.text[max(cover.start - total, 0) : cover.end + total]
    standing = [option for option in options if _stands(option, around)]
    if len(standing) <= OPTION_SHARE * len(options):
        return None
    weight = sum(option.weight for option in standing)
    if cover.telling + weight >= TELLING_WITH_OPTIONS and weight >= TELLING_WITH_OPTIONS / 3:
        return "the question stands in the row with most of its options"
    whole = ITEM_TURN * (question.weight + weight) + TURN_WEIGHT
    if turn.asked and cover.share >= ITEM_COVER and turn.weight <= whole:
        return "the short question and its options are the user's turn"
    return None


def _stands(option: Question, text: str) -> bool:
    """Tell whether an option stands in a text."""
    if option.text in text:
        return True
    return option.weight >= OPTION_WEIGHT and option.cover(text).share >= OPTION_COVER


def _numbers_stand(question: Question, text: str) -> bool:
    """Tell whether the question's numbers are there: about another dose it is another question."""
    if not question.numbers:
        return True
    present = set(_NUMBER.findall(text)) | set(re.findall(r"\d+", text))
    missing = [number for number in question.numbers if number not in present]
    return len(missing) <= (len(question.numbers) >= FORGIVING_NUMBERS)


def _densest(found: list[int], pieces: list[str], width: int) -> tuple[int, int]:
    """Return the first and last of the places within one window that hold most distinct pieces."""
    best, best_range, first = 0, (0, 0), 0
    inside: Counter[str] = Counter()
    for last, place in enumerate(found):
        inside[pieces[last]] += 1
        while place - found[first] > width:
            inside[pieces[first]] -= 1
            if not inside[pieces[first]]:
                del inside[pieces[first]]
            first += 1
        if len(inside) > best:
            best, best_range = len(inside), (first, last)
    return best_range
