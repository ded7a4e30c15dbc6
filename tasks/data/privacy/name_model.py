"""How surely a surname and one or two characters after it are a person's name: a linear model on what stands around.

`make_names.py` trains it and says on what; its weights and the words that names are told from are in `names.json`.
Features are looked up, never computed from other rows, and most candidates are given up after the first of them.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.surnames import COMPOUND, GIVEN, MIXED, NEVER, PURE, RARE

COMPOUNDS = frozenset(COMPOUND.split("|"))
SINGLE = PURE | MIXED | RARE
#: Words that cross a candidate's borders are looked for up to this length.
_LONGEST_WORD = 4
FAMILIES = (
    "S", "SL", "A", "B", "Z", "SG", "CL", "CR", "IN", "WH", "X", "LW", "RW", "LT", "RT",
    "L1", "L2", "L3", "R1", "R2", "R3", "LR", "RB", "PB", "SA", "PA", "WA", "WB", "NX",
)  # fmt: skip
#: `prepare.privacy.names`: points from which a candidate is a name.
LEAST_POINTS = {"careful": -1.6, "balanced": -0.4, "sparing": 1.2}

#: A character that no name in training had.
UNKNOWN = "?"
_OF_NAMES = frozenset(("S", "SL", "A", "B", "Z"))

Feature = tuple[str, str]

#: A role, a form or a title is surer than the news it was weighed on show: they have few forms and lists.
_CUES: frozenset[Feature] = frozenset((("RB", "1"), ("PB", "1"), ("SA", "1")))
_CUE_BONUS, _FORM_BONUS = 1.5, 2.5
#: 应留观, 牛赶入: after surnames that are sure, and after those that are words.
_UNLIKELY_SURE, _UNLIKELY = -1.0, -2.5


class Model(NamedTuple):
    """The trained weights, by family of features, and the dictionary the features look words up in.

    Args:
        bias: points of a candidate of which nothing is known.
        weights: family to feature to points.
        words: ordinary word to how frequent it is, 1 to 4; 5: a term, 6: a given name too.
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
    known = words.get
    left, right, last = 0, 0, len(plain) + 1
    for begin in range(max(0, start - _LONGEST_WORD + 1), start):
        for stop in range(start + 1, min(last, begin + _LONGEST_WORD + 1)):
            bucket = known(plain[begin:stop], 0)
            if bucket > left:
                left = bucket
    for begin in range(max(start, end - _LONGEST_WORD + 1), end):
        for stop in range(end + 1, min(last, begin + _LONGEST_WORD + 1)):
            bucket = known(plain[begin:stop], 0)
            if bucket > right:
                right = bucket
    return left, right


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
        least: points from which a candidate is a name; those surely below it need not be known.
    """

    def __init__(self, least: float) -> None:
        self.least = least
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
            for left in range(7)
            for right in range(7)
            for length in (1, 2)
        }

    def may_be_one(self, plain: str, start: int) -> bool:
        """Tell whether a surname of one character at `start` may begin a name, by the characters beside it alone.

        Most surnames in a text begin none, and this is all that is asked of them.
        """
        pair = plain[start : start + 2]
        one, two = self._pairs.get(pair) or self._pair(pair, 1)
        lefts, rights, seconds = self._beside
        # At the beginning this is the empty text, as everywhere.
        left = self._limits[0] - lefts.get(plain[start - 1 : start], 0.0)
        second = plain[start + 2 : start + 3]
        if one + rights.get(second, 0.0) > left:
            return True
        return two + seconds.get(second, self._no_second) + rights.get(plain[start + 3 : start + 4], 0.0) > left

    def ends(self, plain: str, start: int, given: int, bonus: float) -> list[tuple[float, int]]:
        """Return points and end of a surname with one and with two characters after it, where they are enough.

        Args:
            plain: readable text.
            start: where the surname begins.
            given: where the given name begins; a character that names may have stands there.
            bonus: points for what the model does not know of.
        """
        lefts, rights, seconds = self._beside
        pair = plain[start : given + 1]
        one, two = self._pairs.get(pair) or self._pair(pair, given - start)
        # COVER is in neither table: nothing is known of what stands there.
        beside = lefts.get(plain[start - 1 : start] if start else "", 0.0) + bonus
        # A form decides later; nothing is given up before.
        beside += _FORM_BONUS if plain[start - 1 : start] == ":" else 0.0
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
        if name + self._across[0 if role else left, right, end - given] + beside < self._limits[1]:
            return []
        features = word_features(plain, start, given, end, words)
        if role:
            features = [_whole_before(feature) for feature in features]
        name += self._sum(features)
        if name + beside < self._limits[2]:
            return []
        context = context_features(plain, start, given, end)
        total = name + bonus + self._sum(context) + (_bonus(context) or _unlikely(plain, start, given, end))
        return [(total, end)] if total >= self.least else []

    def _sum(self, features: list[Feature]) -> float:
        """Return the points of features; what was never met has none."""
        weights, unknown = self._weights, self._unknown
        return sum([weights[family].get(key, unknown[family]) for family, key in features])


def _bonus(context: list[Feature]) -> float:
    """Return what a role, a title or a form beside a candidate adds."""
    if _CUES.isdisjoint(context):
        return 0.0
    return _CUE_BONUS + (_FORM_BONUS if ("L1", ":") in context and ("RB", "1") in context else 0.0)


def _unlikely(plain: str, start: int, given: int, end: int) -> float:
    """Return what a given name of characters that names hardly have takes off where nothing beside it speaks for it."""
    if GIVEN.issuperset(plain[given:end]):
        return 0.0
    return _UNLIKELY_SURE if plain[start] in PURE or given - start > 1 else _UNLIKELY


def _whole_before(feature: Feature) -> Feature:
    """Return a feature as it is where no word reaches into a candidate from before."""
    family, key = feature
    return ("CL", "0") if family == "CL" else ("X", "0" + key[1:]) if family == "X" else feature


@lru_cache(maxsize=8)
def scorer(names: str) -> Scorer:
    """Return the scorer of a way to find names, `LEAST_POINTS`."""
    return Scorer(LEAST_POINTS[names])
