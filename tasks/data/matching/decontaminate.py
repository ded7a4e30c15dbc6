"""Evaluation questions found in training rows, verbatim or lightly edited.

A question is looked for by its hashed character n-grams, after the normalization that width, case, punctuation and
spacing do not survive. Options play no part for a question that identifies itself, so their order cannot hide it;
text around it cannot either. Its numbers must be there too: the same question about another dose is another question.

A short question, or one that several items share word for word, says too little alone: it must stand in a user turn
whole and be most of that turn, or have its options in the row. Where the options stand in the row, in any order, less
of the question is enough.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.settings import DecontaminateParams
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.ngrams import Grams, gram_sequence, grams
from tasks.data.matching.normalization import NormalizedRow, han_count, normalize

#: From this weight (a Chinese character 1, any other character a third) a question identifies itself.
SELF_IDENTIFYING_WEIGHT = 18
#: Below this many characters one changed character breaks too many of the configured n-grams.
LONG_CHARACTERS = 32
MEDIUM_NGRAM = 5
SHORT_NGRAM = 3
#: The n-grams must stand together: within this many times the question's length.
WINDOW_LENGTHS = 2
#: A user turn is a short question with a prefix when it is at most this many times as long.
TURN_LENGTHS = 2
#: More than this share of a question's options, together at least this long, are as good as half the question.
OPTION_SHARE = 0.5
OPTION_CHARACTERS = 12
WITH_OPTIONS = 0.5

_NUMBERING = re.compile(r"^\s*[(（]?\d{1,3}[)）.、．]\s*(?!\d)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Hit:
    """One evaluation item found in one row.

    Args:
        eval_set: name of the evaluation set.
        item_id: the item in it.
        containment: share of the question that stands in the row.
        rule: what made it a leak.
        question: its first characters.
    """

    eval_set: str
    item_id: str
    containment: float
    rule: str
    question: str

    def as_json(self) -> dict[str, Any]:
        """Return the hit as evidence."""
        return asdict(self)


@dataclass(frozen=True)
class _Target:
    """An evaluation item made ready: normalized texts, and how it is looked for."""

    item: EvalItem
    question: str
    options: tuple[str, ...]
    ngram: int
    whole: bool
    size: int

    @property
    def numbers(self) -> frozenset[str]:
        """The numbers a row must have as well."""
        return frozenset(_NUMBER.findall(self.question))


class LeakFinder:
    """Evaluation items indexed by n-gram.

    Args:
        items: the items of every evaluation set.
        params: n-gram length, and the share of a question's n-grams that makes a row a leak.

    Attributes:
        unsearchable: items whose question is nothing but symbols; they cannot be looked for.
    """

    def __init__(self, items: Iterable[EvalItem], params: DecontaminateParams) -> None:
        self._params = params
        ready = [(item, normalize(_NUMBERING.sub("", item.question))) for item in items]
        self.unsearchable = [item for item, question in ready if not question]
        # Two sets may hold one item; the same words with other options make a question generic.
        uses = Counter(question for question, _ in {(question, frozenset(item.options)) for item, question in ready})
        targets = [self._target(item, text, generic=uses[text] > 1) for item, text in ready if text]
        by_ngram: dict[int, list[_Target]] = defaultdict(list)
        for target in targets:
            by_ngram[target.ngram].append(target)
        self._indexes = [_Index(ngram, by_ngram[ngram], self._least) for ngram in sorted(by_ngram)]

    def find(self, rows: Sequence[NormalizedRow]) -> list[list[Hit]]:
        """Return for each row the evaluation items that stand in it, best match first."""
        return [self._find_one(row) for row in rows]

    def _find_one(self, row: NormalizedRow) -> list[Hit]:
        turns = row.texts
        questions = [text for role, text in zip(row.roles, turns, strict=True) if role == "u"]
        text = "\n".join(turns)
        leaks = []
        for index in self._indexes:
            sequence = gram_sequence(text, index.ngram)
            for target in index.candidates(sequence):
                containment = self._match(target, sequence, text, questions)
                if containment is not None:
                    leaks.append(self._leak(target, containment))
        return sorted(leaks, key=lambda leak: (-leak.containment, leak.eval_set, leak.item_id))

    def _target(self, item: EvalItem, question: str, *, generic: bool) -> _Target:
        """Return an item with the way it is looked for."""
        han = han_count(question)
        whole = generic or han + (len(question) - han) / 3 < SELF_IDENTIFYING_WEIGHT
        longest = MEDIUM_NGRAM if len(question) < LONG_CHARACTERS else self._params.ngram_characters
        ngram = min(self._params.ngram_characters, SHORT_NGRAM if whole else longest)
        options = tuple(filter(None, (normalize(option) for option in item.options)))
        return _Target(item, question, options, ngram, whole, len(grams(question, ngram)))

    def _match(self, target: _Target, sequence: Grams, text: str, questions: Sequence[str]) -> float | None:
        """Return the containment of a candidate that is a leak, None for one that is not."""
        containment, start = _densest(target, sequence)
        if containment >= self._least(target) and _options_stand(target, text):
            return containment
        if target.whole:
            return containment if _stands_whole(target, text, questions) else None
        length = len(target.question)
        around = text[max(0, start - length) : start + (WINDOW_LENGTHS + 1) * length]
        if containment < self._params.containment or not target.numbers <= set(_NUMBER.findall(around)):
            return None
        return containment

    def _least(self, target: _Target) -> float:
        """Return the share of the question's n-grams below which an item is no candidate."""
        if target.whole:
            return self._params.containment if target.options else 1.0
        return self._params.containment * (WITH_OPTIONS if target.options else 1.0)

    def _leak(self, target: _Target, containment: float) -> Hit:
        """Return the evidence of one hit."""
        rule = (
            f"at least {self._params.containment} of the question's {target.ngram}-grams, or half that and its options"
        )
        if target.whole:
            rule = "the short question stands in a user turn, whole or with its options"
        item = target.item
        return Hit(item.eval_set, item.item_id, round(containment, 4), rule, item.question[:80])


class _Index:
    """N-gram hash -> the items it stands in.

    Args:
        ngram: length of the n-grams.
        targets: items looked for with it.
        least: the share of an item's n-grams that makes it a candidate.
    """

    def __init__(self, ngram: int, targets: Sequence[_Target], least: Callable[[_Target], float]) -> None:
        self.ngram = ngram
        self._targets = targets
        self._enough = np.array([max(least(target) * target.size, 1e-9) for target in targets])
        postings: dict[int, list[int]] = defaultdict(list)
        for number, target in enumerate(self._targets):
            for gram in grams(target.question, ngram).tolist():
                postings[gram].append(number)
        self._keys: Grams = np.array(sorted(postings), dtype=np.uint64)
        self._postings = [np.array(postings[key], dtype=np.int64) for key in sorted(postings)]

    def candidates(self, sequence: Grams) -> list[_Target]:
        """Return the items with enough of their n-grams anywhere in a row."""
        found = self._places(np.unique(sequence))
        if not len(found):
            return []
        counts = np.bincount(np.concatenate([self._postings[place] for place in found]), minlength=len(self._targets))
        return [self._targets[number] for number in np.flatnonzero(counts >= self._enough).tolist()]

    def _places(self, wanted: Grams) -> npt.NDArray[np.int64]:
        """Return where the known ones of `wanted` stand among the keys."""
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return places[self._keys[places] == wanted]


def _options_stand(target: _Target, text: str) -> bool:
    """Tell whether enough of the options, in any order, stand in a row."""
    present = [option for option in target.options if option in text]
    return len(present) > OPTION_SHARE * len(target.options) and sum(map(len, present)) >= OPTION_CHARACTERS


def _stands_whole(target: _Target, text: str, questions: Sequence[str]) -> bool:
    """Tell whether a short or generic question is asked in a user turn of its own, or together with its options."""
    asked = [turn for turn in questions if target.question in turn]
    present = sum(option in text for option in target.options)
    if asked and target.options and present > OPTION_SHARE * len(target.options):
        return True
    return any(len(turn) <= TURN_LENGTHS * len(target.question) for turn in asked)


def _densest(target: _Target, sequence: Grams) -> tuple[float, int]:
    """Return the largest share of the question's n-grams within one window of the row, and where it starts."""
    wanted = grams(target.question, target.ngram)
    positions = np.flatnonzero(np.isin(sequence, wanted))
    best, best_start, first = 0, 0, 0
    inside: Counter[int] = Counter()
    for place in positions.tolist():
        inside[int(sequence[place])] += 1
        while place - int(positions[first]) > WINDOW_LENGTHS * len(target.question):
            gone = int(sequence[int(positions[first])])
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
            first += 1
        if len(inside) > best:
            best, best_start = len(inside), int(positions[first])
    return best / max(target.size, 1), best_start
