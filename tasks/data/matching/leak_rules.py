"""Whether an evaluation item stands in a turn: how much of it, how telling that is, and its numbers and options.

A question is covered by pieces it has in common with the turn, two Chinese characters or five others and longer, close
together. Pieces survive what breaks long n-grams: a character changed here and there, words swapped, clauses moved.
What is covered is weighed: characters in phrases that many questions share ("下列说法正确的是") say little.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from tasks.data.matching.normalization import han_count, is_han_character

#: Shortest piece that counts, in texts that are mostly Chinese and in others.
CHINESE_PIECE, LATIN_PIECE = 2, 5
#: The pieces of a question must stand within this many times its length.
WINDOW_LENGTHS = 1.3
WINDOW_CHARACTERS = 8
#: From this weight of telling characters a question identifies itself: it may stand anywhere.
SELF_IDENTIFYING = 21.0
#: In a turn this many times as heavy as the question, and this much, pieces must be one character longer: the longer
#: a turn, the more it has in common with any question.
LONG_TURN, LONG_TURN_WEIGHT = 3.0, 20.0
#: In a long turn, and in an answer, this much more of the question must stand.
LONG_TURN_EXTRA = 0.1
#: A short question that stands whole must be the turn but for this weight, and this share of its telling weight.
BESIDE_WEIGHT, BESIDE_SHARE = 3.5, 0.6
#: Word for word, and this share of it or this weight telling, it may have a sentence of this weight around it; one word
#: (阑尾) stands in other questions.
SURROUNDED_SHARE, SURROUNDED_TELLING, SURROUNDED_WEIGHT, SURROUNDED_LEAST = 0.7, 8.5, 24.0, 4.0
#: Where nobody asks it (an answer, a system prompt) it must stand together and tell so much; within this many times its
#: length it stands together.
QUOTED_TELLING, TOGETHER = 6.5, 1.15
#: So does one that is the user's turn; its words all over a turn are another question's.
SHORT_TOGETHER = 2.0
#: Edited, it must be the whole turn: within so many edits, or this share of its length, its telling part mostly there.
EDITS, EDIT_SHARE = 2, 0.34
EDITED_TELLING = 0.45
#: An option stands when it is there word for word or, if it weighs enough, covered this far.
OPTION_COVER, OPTION_WEIGHT = 0.7, 4.0
#: With more than this share of its options, less of the question is enough: this much where they are the turn or weigh
#: this much, or else this much more, all together telling so much.
OPTION_SHARE = 0.5
WITH_OPTIONS, WITH_SHORT_OPTIONS = 0.3, 0.55
HEAVY_OPTIONS = 16.0
TELLING_WITH_OPTIONS = 9.0
#: All options, so heavy, say which item it is, however its question is put.
IDENTIFYING_OPTIONS = 30.0
#: A question stands whole from this share. An answer that sets one must give it whole, with all options.
VERBATIM = 0.9
#: A question of so many different characters is an item where its options follow, each behind so long a label at most.
ITEM_CHARACTERS, ITEM_LABEL = 4, 3
#: The turn is the item when it is at most this many times as heavy, and this much.
ITEM_TURN, ITEM_TURN_WEIGHT = 1.5, 12.0
#: A question with this many numbers may lack one: a digit is a character that can be mistyped like another.
FORGIVING_NUMBERS = 3
#: A number this long that is there but for one digit is the same number mistyped, not another quantity.
LONG_NUMBER = 4

#: A quoted name from this length may be mistyped, so much of it there.
LONG_NAME, NAME_COVER = 3, 0.5
#: Words of so much telling weight replaced by others make another question; looked for this far before what is covered.
REPLACED, BEFORE_COVER = 2.5, 12

_QUOTED = re.compile('[“”"「『]([^“”"「」『』]{1,8})[”"」』]|《([^《》]{1,20})》')
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_YEAR = re.compile(r"(?:19|20)\d\d")
#: Labels of options, as normalized text has them before what is no Latin word.
_LABELLED = re.compile(r"a(?![a-z]).+?b(?![a-z]).+?c(?![a-z]).+?d(?![a-z])")


def weight_of(text: str) -> float:
    """Return how much a text says: a Chinese character 1, any other a third."""
    han = han_count(text)
    return han + (len(text) - han) / 3


class Question:
    """A normalized question, ready to be looked for in turns.

    Args:
        text: normalized, without spaces.
        telling: how telling each character is, 0 to 1; as long as `text`.
        shared: whether several items ask it, with other options.
        names: what it quotes, normalized: about another it is another question.
    """

    def __init__(self, text: str, telling: list[float], *, shared: bool = False, names: tuple[str, ...] = ()) -> None:
        self.text = text
        self.names = names
        self.shared = shared
        han = sum(map(is_han_character, text))
        self._piece = CHINESE_PIECE if 2 * han >= len(text) - han else LATIN_PIECE
        self._weights = [1.0 if is_han_character(character) else 1 / 3 for character in text]
        self._telling = [weight * share for weight, share in zip(self._weights, telling, strict=True)]
        self._pieces: dict[int, dict[str, list[int]]] = {}
        self.weight = sum(self._weights)
        self.identity = sum(self._telling)
        self.numbers = Counter(_NUMBER.findall(text))

    def cover(self, turn: str, *, long: bool = False) -> "Cover":
        """Return how much of the question stands in a turn, where it stands closest together.

        Args:
            turn: normalized text.
            long: whether pieces must be one character longer.
        """
        piece = min(self._piece + long, len(self.text))
        places = self._places(piece)
        found = sorted(place for one in places for place in _occurrences(one, turn))
        if not found:
            return Cover(0.0, 0.0, 0.0, frozenset())
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
        return Cover(weight / self.weight, telling, here, frozenset(standing))

    def telling_in(self, start: int, end: int) -> float:
        """Return the weight of the telling characters of a part."""
        return sum(self._telling[start:end])

    def _places(self, piece: int) -> dict[str, list[int]]:
        """Return where each piece of a length stands in the question."""
        if piece not in self._pieces:
            places = defaultdict(list)
            for start in range(len(self.text) - piece + 1):
                places[self.text[start : start + piece]].append(start)
            self._pieces[piece] = dict(places)
        return self._pieces[piece]


@dataclass(frozen=True)
class Cover:
    """How much of a question stands in a turn.

    Args:
        share: of the question's weight.
        telling: weight of the telling characters covered.
        standing: weight of the turn's characters that cover it.
        places: of those characters in the turn.
    """

    share: float
    telling: float
    standing: float
    places: frozenset[int]

    @property
    def start(self) -> int:
        """The first of the places."""
        return min(self.places, default=0)

    @property
    def end(self) -> int:
        """Behind the last of the places."""
        return max(self.places, default=-1) + 1


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


def cover_in(question: Question, turn: Turn) -> Cover:
    """Return how much of a question stands in a turn, by pieces as long as the turn asks for."""
    return question.cover(turn.text, long=_is_long(question, turn))


def judge(question: Question, options: list[Question], turn: Turn, cover: Cover, containment: float) -> str | None:
    """Return the rule by which an item stands in a turn, None if it does not.

    Args:
        question: the item's question.
        options: its options.
        turn: one turn of a row.
        cover: `cover_in` of question and turn.
        containment: the share of a question that makes a row a leak.
    """
    if question.names and question.text not in turn.text and not _names_stand(question, turn.text):
        return None
    rule = _by_options(question, options, turn, cover) if options else None
    if rule is None and _asks_with_others(options, turn, cover):
        return None
    if rule is None and _numbers_stand(question, turn.text[max(cover.start - 2, 0) : cover.end + 8]):
        # An answer repeats the words of a question like this one even where it was not asked.
        least = containment + LONG_TURN_EXTRA * (_is_long(question, turn) or not turn.asked)
        rule = _by_question(question, turn, cover, least)
    return rule


def _asks_with_others(options: list[Question], turn: Turn, cover: Cover) -> bool:
    """Tell whether a turn asks a question like an item's with options of its own, not one of them the item's."""
    if not options or not turn.asked or cover.share >= VERBATIM or not _LABELLED.search(turn.text, cover.end):
        return False
    return not _standing(options, turn.text[cover.end :])


def _is_long(question: Question, turn: Turn) -> bool:
    """Tell whether a turn is so long that it has something in common with any question."""
    return turn.weight > LONG_TURN * question.weight + LONG_TURN_WEIGHT


def _by_question(question: Question, turn: Turn, cover: Cover, containment: float) -> str | None:
    """Return the rule by which a question alone is a leak."""
    enough = containment * max(question.identity, SELF_IDENTIFYING)
    if cover.telling >= enough and cover.share >= containment:
        return f"at least {containment:.2} of the question stands in the row"
    whole = cover.share >= VERBATIM and cover.end - cover.start <= TOGETHER * len(question.text)
    if not turn.asked:
        quoted = whole and not question.shared and question.identity >= QUOTED_TELLING
        return "the question is quoted where nobody asks it" if quoted else None
    beside = turn.weight - cover.standing
    most_beside = BESIDE_SHARE * question.identity + BESIDE_WEIGHT
    least = max(min(SURROUNDED_SHARE * question.weight, SURROUNDED_TELLING), SURROUNDED_LEAST)
    telling = question.identity >= least
    if telling and not question.shared and question.text in turn.text:
        most_beside += SURROUNDED_WEIGHT
    together = cover.end - cover.start <= SHORT_TOGETHER * len(question.text)
    if cover.share >= VERBATIM and together and beside <= most_beside:
        return "the short question is the user's turn"
    most = max(EDITS, int(EDIT_SHARE * len(question.text)))
    if cover.telling >= EDITED_TELLING * question.identity and _within_edits(question.text, turn.text, most):
        return "the short question, with a few edits, is the user's turn"
    return None


def _within_edits(left: str, right: str, most: int) -> bool:
    """Tell whether two texts are at most so many characters changed, left out or added apart (Ukkonen's band)."""
    if abs(len(left) - len(right)) > most:
        return False
    far = most + 1
    above = {column: column for column in range(most + 1)}
    for row, character in enumerate(left, start=1):
        here: dict[int, int] = {}
        for column in range(max(row - most, 0), min(row + most, len(right)) + 1):
            changed = above.get(column - 1, far) + (column > 0 and right[column - 1] != character)
            here[column] = min(changed, above.get(column, far) + 1, here.get(column - 1, far) + 1)
        if min(here.values()) > most:
            return False
        above = here
    return above.get(len(right), far) <= most


def _by_options(question: Question, options: list[Question], turn: Turn, cover: Cover) -> str | None:
    """Return the rule by which a question with its options is a leak."""
    total = len(question.text) + sum(len(option.text) + WINDOW_CHARACTERS for option in options)
    around = turn.text[max(cover.start - total, 0) : cover.end + total]
    standing = _standing(options, around)
    if len(standing) <= OPTION_SHARE * len(options):
        return None
    weight = sum(option.weight for option in standing)
    by_options_alone = len(standing) == len(options) and weight >= IDENTIFYING_OPTIONS
    if _stands_as_item(question, options, turn):
        return "the question stands word for word with all its options behind it"
    if cover.share < VERBATIM and not by_options_alone and _about_another(question, turn, cover):
        return None
    heavy = weight >= HEAVY_OPTIONS or cover.share >= WITH_SHORT_OPTIONS
    asked = (turn.asked and heavy) or (len(standing) == len(options) and cover.share >= VERBATIM)
    if asked and turn.weight <= ITEM_TURN * (question.weight + weight) + ITEM_TURN_WEIGHT:
        return "the question and most of its options are the turn"
    if heavy and cover.telling + weight >= TELLING_WITH_OPTIONS:
        return "the question stands in the row with most of its options"
    return None


def _stands_as_item(question: Question, options: list[Question], turn: Turn) -> bool:
    """Tell whether a question stands whole and all its options right behind it, as formulas and series must."""
    if len(set(question.text)) < ITEM_CHARACTERS:
        return False
    end = turn.text.find(question.text) + len(question.text)
    behind = turn.text[end : end + sum(len(option.text) + ITEM_LABEL for option in options)]
    return end >= len(question.text) and len(_standing(options, behind)) == len(options)


def _standing(options: list[Question], text: str) -> list[Question]:
    """Return the options that stand in a text, each in a place of its own: those of one item are often alike."""
    taken: set[int] = set()
    standing = []
    for option in sorted(options, key=lambda option: (-len(option.text), option.text)):
        places = _place_of(option, text, taken)
        if places:
            standing.append(option)
            taken |= places
    return standing


def _place_of(option: Question, text: str, taken: set[int]) -> frozenset[int]:
    """Return where an option stands outside of `taken`: word for word or, if it weighs enough, mostly."""
    start = text.find(option.text)
    while start >= 0:
        places = frozenset(range(start, start + len(option.text)))
        if not places & taken:
            return places
        start = text.find(option.text, start + 1)
    if option.weight < OPTION_WEIGHT:
        return frozenset()
    cover = option.cover(text)
    free = cover.places - taken
    mostly = cover.share >= OPTION_COVER and len(free) >= OPTION_COVER * len(cover.places)
    return free if mostly else frozenset()


def quoted_names(text: str) -> list[str]:
    """Return what a question quotes: titles, and words in quotation marks that are short enough to be its subject."""
    return [next(filter(None, found)) for found in _QUOTED.findall(text)]


def _names_stand(question: Question, text: str) -> bool:
    """Tell whether what a question quotes is there; a long one may be mistyped."""
    for name in question.names:
        if name not in text and (
            len(name) < LONG_NAME or Question(name, [1.0] * len(name)).cover(text).share < NAME_COVER
        ):
            return False
    return True


def _about_another(question: Question, turn: Turn, cover: Cover) -> bool:
    """Tell whether other words stand in the place of some of a question's: its sibling about something else."""
    around = turn.text[max(cover.start - BEFORE_COVER, 0) : cover.end + 2]
    return any(
        tag == "replace" and question.telling_in(start, end) >= REPLACED and han_count(around[first:last]) >= 2
        for tag, start, end, first, last in SequenceMatcher(None, question.text, around, autojunk=False).get_opcodes()
    )


def _numbers_stand(question: Question, text: str) -> bool:
    """Tell whether the question's numbers are there: about another dose it is another question."""
    if not question.numbers:
        return True
    present = set(_NUMBER.findall(text)) | set(re.findall(r"\d+", text))
    missing = [number for number in question.numbers if number not in present]
    mistyped = [number for number in missing if len(number) >= LONG_NUMBER and _almost(number, present)]
    # One that is gone, with no other in its place, is an omission; another in its place makes another question.
    omitted = bool(missing) and present <= {
        part for number in question.numbers for part in (number, *number.split("."))
    }
    forgiven = len(question.numbers) >= FORGIVING_NUMBERS or omitted
    return len(missing) - len(mistyped) <= forgiven


def _almost(number: str, present: set[str]) -> bool:
    """Tell whether a number is there but for one digit changed, left out or added."""
    for other in present:
        if _YEAR.fullmatch(number) and _YEAR.fullmatch(other):
            continue
        shorter, longer = sorted((number, other), key=len)
        front = next((at for at, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
        same_length = len(shorter) == len(longer)
        if len(longer) - len(shorter) <= 1 and shorter[front + same_length :] == longer[front + 1 :]:
            return True
    return False


def _occurrences(piece: str, text: str) -> Iterator[int]:
    """Yield where a piece stands in a text, overlapping ones included."""
    place = text.find(piece)
    while place >= 0:
        yield place
        place = text.find(piece, place + 1)


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
