"""How surely a surname and one or two characters after it are a person's name: a linear model on what stands around.

`make_names.py` trains it and says on what; its weights and the words that names are told from are in `names.json`.
Features are looked up, never computed from other rows, and most candidates are given up after the first of them.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.spans import COVER
from tasks.data.privacy.surnames import COMPOUND, GIVEN, MIXED, NEVER, PURE, RARE

COMPOUNDS = frozenset(COMPOUND.split("|"))
SINGLE = PURE | MIXED | RARE
#: Words that cross a candidate's borders are looked for up to this length.
_LONGEST_WORD = 4
#: `Model.words`, and none.
_BUCKETS = 8
FAMILIES = (
    "S", "SL", "A", "B", "Z", "SG", "CL", "CR", "IN", "WH", "X", "LW", "RW", "LT", "RT",
    "L1", "L2", "L3", "R1", "R2", "R3", "LR", "RB", "PB", "SA", "PA", "WA", "WB", "NX",
)  # fmt: skip
#: `prepare.privacy.names`: points from which a candidate is a name, with one given character and with two: of three
#: characters that are a name the model is far surer, so fewer points are a chance of words.
LEAST_POINTS = {"careful": (-1.0, -0.8), "balanced": (-0.2, 0.3), "sparing": (1.2, 2.0)}

#: So many more where the surname is a word too: 左子树, 成今义.
_WORD_SURNAME = 1.0
_WORD_SURNAMES = MIXED | RARE

#: A character that no name in training had.
UNKNOWN = "?"
_OF_NAMES = frozenset(("S", "SL", "A", "B", "Z"))

Feature = tuple[str, str]

_CUE_BONUS, _FORM_BONUS = 1.5, 2.5
#: 应留观, 牛赶入: after surnames that are sure, and after those that are words.
_UNLIKELY_SURE, _UNLIKELY = -1.0, -2.5
#: 顾客可, 张旭曾: rather what the sentence goes on with than the end of a name.
_VERB_BEGINS = frozenset("可曾均须诉仍")


class Model(NamedTuple):
    """The trained weights, by family of features, and the dictionary the features look words up in.

    Args:
        bias: points of a candidate of which nothing is known.
        weights: family to feature to points.
        words: ordinary word to how frequent it is, 1 to 4; 5: a term, 6: a given name too, 7: doubtful.
        limits: candidates below these points were hardly ever names: by the name and the characters beside it; with
            words of two characters across its borders; with all words.
    """

    bias: float
    weights: dict[str, dict[str, float]]
    words: dict[str, int]
    limits: tuple[float, float, float]


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    """Return the file's content."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "names.json").read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def model() -> Model:
    """Return the trained model."""
    content = _content()
    words = {word: int(bucket) for bucket, text in content["words"].items() for word in text.split()}
    weights = {family: content["weights"].get(family, {}) for family in FAMILIES}
    return Model(content["bias"], weights, words, tuple(content["limits"]))


@lru_cache(maxsize=1)
def simplified() -> dict[int, int]:
    """Return traditional characters as the simplified ones the model knows, for `str.translate`."""
    return str.maketrans(_content()["traditional"], _content()["simplified"])


@lru_cache(maxsize=1)
def traditional_only() -> re.Pattern[str]:
    """Return the pattern of characters that only traditional text has: those outside GB 2312."""
    only = (character for character in _content()["traditional"] if not character.encode("gb2312", "ignore"))
    return re.compile(f"[{''.join(only)}]")


def is_chinese(character: str) -> bool:
    """Tell whether a text is one Chinese character."""
    return "\u4e00" <= character <= "\u9fff" if character else False


def name_features(plain: str, start: int, given: int, end: int, words: dict[str, int]) -> list[Feature]:
    """Return the features of the characters of a name themselves."""
    surname = plain[start:given] if given - start == 1 else "*"
    if end - given == 1:
        return [("S", surname), ("SL", surname + "1"), ("Z", plain[given])]
    return [
        ("S", surname),
        ("SL", surname + "2"),
        ("A", plain[given]),
        ("B", plain[given + 1]),
        ("SG", str(words.get(plain[start : given + 1], 0))),
    ]


def word_features(plain: str, start: int, given: int, end: int, words: dict[str, int]) -> list[Feature]:
    """Return how a candidate lies among the words of a dictionary: across, within, before and after it."""
    length = str(end - given)
    left, right = _crossing(plain, start, end, words)
    inner = words.get(plain[given:end], 0) if end - given == 2 else 0
    before, after = _word_before(plain, start, words), _word_after(plain, end, words)
    return [
        ("CL", str(left)),
        ("CR", f"{right}{length}"),
        ("IN", str(inner)),
        ("WH", f"{words.get(plain[start:end], 0)}{length}"),
        ("X", f"{int(left > 0)}{int(right > 0)}{length}"),
        ("LW", str(before)),
        ("RW", f"{after}{length}"),
        ("LT", plain[start - before : start] if before else plain[max(0, start - 1) : start]),
        ("RT", plain[end : end + after] if after else plain[end : end + 1]),
    ]


def _crossing(plain: str, start: int, end: int, words: dict[str, int]) -> tuple[int, int]:
    """Return how frequent the words are that begin before a candidate or end behind it."""
    left = _across(plain, start, 0, words) if start else 0
    return left, _across(plain, end, start, words) if end < len(plain) else 0


def _across(plain: str, border: int, least: int, words: dict[str, int]) -> int:
    """Return how frequent the words of up to four characters are that hold both sides of a border.

    Written out, for it is asked of every candidate: loops take twice as long.
    """
    known, one, two, three = words.get, border - 1, border - 2, border - 3
    found = max(
        known(plain[one : border + 1], 0), known(plain[one : border + 2], 0), known(plain[one : border + 3], 0)
    )  # fmt: skip
    if two >= least:
        found = max(found, known(plain[two : border + 1], 0), known(plain[two : border + 2], 0))
    if three >= least:
        found = max(found, known(plain[three : border + 1], 0))
    return found


def _word_before(plain: str, start: int, words: dict[str, int]) -> int:
    """Return how long the longest word is that ends where a candidate begins."""
    for length in range(min(_LONGEST_WORD, start), 1, -1):
        if plain[start - length : start] in words:
            return length
    return 0


def _word_after(plain: str, end: int, words: dict[str, int]) -> int:
    """Return how long the longest word is that begins where a candidate ends."""
    for length in range(_LONGEST_WORD, 1, -1):
        if plain[end : end + length] in words:
            return length
    return 0


def context_features(plain: str, start: int, given: int, end: int) -> list[Feature]:
    """Return what stands beside a candidate: characters, roles and titles, what people do."""
    left, right = cues.left_of(plain, start), cues.right_of(plain, end)
    features = [("L1", left[-1:]), ("R1", right[:1])]
    features += [(f"L{length}", left[-length:]) for length in (2, 3) if len(left) >= length]
    features += [(f"R{length}", right[:length]) for length in (2, 3) if len(right) >= length]
    features += [
        ("LR", f"{_shape(left[-1:])}{_shape(right[:1])}"),
        ("RB", str(int(cues.role_before(left)))),
        ("PB", str(int(bool(left) and cues.person_before(left)))),
        ("SA", str(int(bool(right) and cues.strong_after(right)))),
        ("PA", str(int(bool(right) and cues.person_after(right)))),
        ("WA", str(int(cues.weak_after(right)))),
        ("WB", str(int(cues.weak_before(left)))),
    ]
    if end - given == 1:
        features.append(("NX", _next(right[:1])))
    return features


def _shape(character: str) -> str:
    """Return a character beside a candidate, Chinese ones as one."""
    return "c" if is_chinese(character) else character


def _next(character: str) -> str:
    """Return whether the character after a name of one given character could be its second."""
    if not is_chinese(character):
        return "none"
    return "never" if character in NEVER else "given" if character in GIVEN else "other"


class Scorer:
    """Says how many points a candidate has, the sum of its features' weights, and gives most up before all are known.

    What the features cost decides what personal data costs a row, so those of the characters beside a candidate and of
    two-character words across its borders are looked up first, without making them.

    Args:
        least: points from which a candidate is a name, with one given character and with two.
    """

    def __init__(self, least: tuple[float, float]) -> None:
        self._least = least
        bias, self._weights, self._words, self._limits = model()
        self._bias = bias
        self._pairs: dict[str, tuple[float, float]] = {}
        #: What a feature gives that was never met: nothing, but for the characters of names.
        self._unknown = {
            family: known.get(UNKNOWN, 0.0) if family in _OF_NAMES else 0.0 for family, known in self._weights.items()
        }
        self._beside = [self._weights[family] for family in ("L1", "R1", "B")]
        self._no_second = self._unknown["B"]
        across = [self._weights[family] for family in ("CL", "CR", "X")]
        #: By the buckets of the words across both borders, for one given character and for two.
        self._across = {
            (left, right, length): across[0].get(str(left), 0.0)
            + across[1].get(f"{right}{length}", 0.0)
            + across[2].get(f"{int(left > 0)}{int(right > 0)}{length}", 0.0)
            for left in range(_BUCKETS)
            for right in range(_BUCKETS)
            for length in (1, 2)
        }
        #: What else `word_features` says, by bucket or length.
        inner, whole, before, after = (self._weights[family] for family in ("IN", "WH", "LW", "RW"))
        self._inner = [inner.get(str(bucket), 0.0) for bucket in range(_BUCKETS)]
        self._whole = [[whole.get(f"{bucket}{length}", 0.0) for length in range(3)] for bucket in range(_BUCKETS)]
        self._before = [before.get(str(word), 0.0) for word in range(_LONGEST_WORD + 1)]
        self._after = [[after.get(f"{word}{length}", 0.0) for length in range(3)] for word in range(_LONGEST_WORD + 1)]
        #: What `context_features` says, by text and by yes or no.
        self._texts = [self._weights[family] for family in ("L1", "L2", "L3", "R1", "R2", "R3", "LR")]
        self._flags = [
            (self._weights[family].get("0", 0.0), self._weights[family].get("1", 0.0))
            for family in ("RB", "PB", "SA", "PA", "WA", "WB")
        ]
        self._ending, self._beginning = self._weights["LT"], self._weights["RT"]

    def least(self, surname: str, given_characters: int) -> float:
        """Return the points from which a surname and so many given characters are a name."""
        return self._least[given_characters - 1] + (_WORD_SURNAME if surname in _WORD_SURNAMES else 0.0)

    def beginnings(self, plain: str, starts: Iterable[int]) -> Iterator[int]:
        """Yield the places where a surname of one character may begin a name, by the characters beside it alone.

        Most surnames in a text begin none, and this is all that is asked of them.

        Args:
            plain: readable text.
            starts: where there are surnames; a character that names may have stands behind each.
        """
        pairs, (lefts, rights, seconds) = self._pairs, self._beside
        limit, no_second, listed = self._limits[0], self._no_second, COVER in plain
        for start in starts:
            pair = plain[start : start + 2]
            one, two = pairs.get(pair) or self._pair(pair, 1)
            # At the beginning this is the empty text, as everywhere.
            before, second = plain[start - 1 : start], plain[start + 2 : start + 3]
            left = limit - lefts.get(before, 0.0)
            if (
                one + rights.get(second, 0.0) > left
                or two + seconds.get(second, no_second) + rights.get(plain[start + 3 : start + 4], 0.0) > left
                or before == ":"
                or (listed and plain[start - 2 : start - 1] == COVER)
            ):
                yield start

    def ends(self, plain: str, start: int, given: int, bonus: float, *, held: bool = False) -> list[tuple[float, int]]:
        """Return points and end of a surname with one and with two characters after it, where they are enough.

        Args:
            plain: readable text.
            start: where the surname begins.
            given: where the given name begins; a character that names may have stands there.
            bonus: points for what the model does not know of.
            held: nothing is given up before a title has had its say.
        """
        lefts, rights, seconds = self._beside
        pair = plain[start : given + 1]
        one, two = self._pairs.get(pair) or self._pair(pair, given - start)
        # COVER is in neither table: nothing is known of what stands there.
        beside = lefts.get(plain[start - 1 : start] if start else "", 0.0) + bonus
        # A form decides later; nothing is given up before.
        beside += _FORM_BONUS if held or plain[start - 1 : start] == ":" else 0.0
        second = plain[given + 1 : given + 2]
        right = rights.get(second, 0.0)
        found = []
        if one + beside + right > self._limits[0]:
            found += self._full(plain, start, given, given + 1, (one, beside + right, bonus))
        if "\u4e00" <= second <= "\u9fff" and second not in NEVER:
            two += seconds.get(second, self._no_second)
            right = rights.get(plain[given + 2 : given + 3], 0.0)
            if two + beside + right > self._limits[0]:
                found += self._full(plain, start, given, given + 2, (two, beside + right, bonus))
        return found

    def _pair(self, pair: str, surname: int) -> tuple[float, float]:
        """Return the points of a surname and a first given character, alone and before a second."""
        one = name_features(pair, 0, surname, surname + 1, self._words)
        both = name_features(pair + " ", 0, surname, surname + 2, self._words)
        two = [feature for feature in both if feature[0] != "B"]
        known = self._pairs[pair] = self._bias + self._sum(one), self._bias + self._sum(two)
        return known

    def _full(
        self, plain: str, start: int, given: int, end: int, known: tuple[float, float, float]
    ) -> list[tuple[float, int]]:
        """Return points and end of a candidate, unless it is given up; `known`: its name, beside it, bonus."""
        name, beside, bonus = known
        words = self._words
        left = words.get(plain[start - 1 : start + 1], 0) if start else 0
        right = words.get(plain[end - 1 : end + 1], 0)
        # 班长江涛签字: the role ends where the name begins, whatever word that cuts in two.
        role = left > 0 and plain[start - 1] in cues.ROLE_ENDS and cues.role_ends_here(plain, start)
        # 王建国师傅: a title begins where it ends.
        title = right > 0 and cues.titled(plain, end)
        across = self._across[0 if role else left, 0 if title else right, end - given]
        if name + across + beside < self._limits[1]:
            return []
        name += self._word_points(plain, start, given, end, role, title)
        if name + beside < self._limits[2]:
            return []
        total = name + bonus + self._context_points(plain, start, given, end)
        return [(total, end)] if total >= self.least(plain[start:given], end - given) else []

    def _word_points(self, plain: str, start: int, given: int, end: int, role: bool, title: bool) -> float:
        """Return the points of `word_features`, without making them; no word reaches across a role or a title."""
        words, length = self._words, end - given
        left, right = _crossing(plain, start, end, words)
        before, after = _word_before(plain, start, words), _word_after(plain, end, words)
        return (
            self._across[0 if role else left, 0 if title else right, length]
            + self._inner[words.get(plain[given:end], 0) if length == 2 else 0]
            + self._whole[words.get(plain[start:end], 0)][length]
            + self._before[before]
            + self._after[after][length]
            + self._ending.get(plain[start - before : start] if before else plain[max(0, start - 1) : start], 0.0)
            + self._beginning.get(plain[end : end + after] if after else plain[end : end + 1], 0.0)
        )

    def _context_points(self, plain: str, start: int, given: int, end: int) -> float:
        """Return the points of `context_features`, without making them, and what is added to or taken off these."""
        left, right = cues.left_of(plain, start), cues.right_of(plain, end)
        last, first = left[-1:], right[:1]
        role, title = cues.role_before(left), bool(right) and cues.strong_after(right)
        person = bool(left) and cues.person_before(left)
        flags = (
            role, person, title, bool(right) and cues.person_after(right), cues.weak_after(right),
            cues.weak_before(left),
        )  # fmt: skip
        beside = (last, left[-2:], left[-3:], first, right[:2], right[:3], _shape(last) + _shape(first))
        points = sum([known.get(key, 0.0) for known, key in zip(self._texts, beside, strict=True)])
        points += sum([pair[flag] for pair, flag in zip(self._flags, flags, strict=True)])
        if end - given == 1:
            points += self._weights["NX"].get(_next(first), 0.0)
        return points + (_bonus(plain[start], last, role, person, title) or _unlikely(plain, start, given, end))

    def _sum(self, features: list[Feature]) -> float:
        """Return the points of features; what was never met has none."""
        weights, unknown = self._weights, self._unknown
        return sum([weights[family].get(key, unknown[family]) for family, key in features])


def _bonus(surname: str, before: str, role: bool, person: bool, title: bool) -> float:
    """Return what a role, a title or a form beside a candidate adds: surer than news show, which has few forms."""
    if role and before == ":":
        return _CUE_BONUS + _FORM_BONUS
    # 教师和学生, 朋友都聚集: after a role alone, surnames that are function words are just these.
    return _CUE_BONUS if title or ((role or person) and surname not in RARE) else 0.0


def _unlikely(plain: str, start: int, given: int, end: int) -> float:
    """Return what a given name of characters that names hardly have takes off where nothing beside it speaks for it."""
    if end - given == 2 and plain[end - 1] in _VERB_BEGINS:
        return _UNLIKELY
    if GIVEN.issuperset(plain[given:end]):
        return 0.0
    return _UNLIKELY_SURE if plain[start] in PURE or given - start > 1 else _UNLIKELY


@lru_cache(maxsize=8)
def scorer(names: str) -> Scorer:
    """Return the scorer of a way to find names, `LEAST_POINTS`."""
    return Scorer(LEAST_POINTS[names])
