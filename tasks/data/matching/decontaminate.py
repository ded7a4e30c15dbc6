"""Evaluation questions found in training rows, verbatim or lightly edited.

Rows are normalized, so width, case, punctuation, spacing and traditional characters hide nothing. Seeds propose
(`seeds.py`), rules decide (`leak_rules.py`): a question that identifies itself may stand anywhere, in pieces close
together; its numbers must be there too, the same question about another dose is another question. A short question,
or one of stock phrases, says too little alone: it must be the user's turn, or have its options beside it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from tasks.core.settings import DecontaminateParams
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.leak_rules import WITH_OPTIONS, Question, Turn, cover_in, judge, quoted_names, weight_of
from tasks.data.matching.normalization import NormalizedRow, normalize_all
from tasks.data.matching.phrases import Phrases
from tasks.data.matching.seeds import SeedIndex, Unit

#: Questions up to this weight are looked for by finer seeds as well.
SHORT_WEIGHT = 24.0
#: Turns up to this many characters are searched with finer seeds, by role and level.
LONGEST_TURN = {("u", 1): 600, ("u", 2): 90, ("a", 1): 160, ("s", 1): 600, ("r", 1): 160}
#: Share of its seeds that proposes a text, by level.
SEED_SHARES = (0.2, 0.25, 0.34)
OPTION_SEED_SHARE = 0.3
#: Below this weight even the coarse seeds of a question break too easily to be worth their place.
COARSE_WEIGHT = 9.0
QUESTION_CHARACTERS = 80
_REMEMBERED_QUESTIONS = 4096

_NUMBERING = re.compile(r"^\s*[(（]?\d{1,3}[)）.、．]\s*(?!\d)")


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


def with_unspoken(
    rows: Sequence[NormalizedRow],
    conversations: Sequence[Sequence[Mapping[str, str]]],
    rejected: Sequence[str | None],
) -> list[NormalizedRow]:
    """Return rows with what nobody says in them behind the turns: system prompts (`s`), and a refused answer (`r`).

    Args:
        rows: the normalized turns.
        conversations: the rows' messages, for their system prompts.
        rejected: the answer a preference row refuses; None for other rows.
    """
    unspoken = [
        [("s", message["content"]) for message in messages if message["role"] == "system"]
        + ([("r", refused)] if refused else [])
        for messages, refused in zip(conversations, rejected, strict=True)
    ]
    texts = list(dict.fromkeys(text for one in unspoken for _, text in one))
    normal = dict(zip(texts, normalize_all(texts), strict=True))
    return [
        NormalizedRow(row.roles + "".join(role for role, _ in one), (*row.turns, *(normal[text] for _, text in one)))
        if one else row
        for row, one in zip(rows, unspoken, strict=True)
    ]  # fmt: skip


def searched_questions(items: Sequence[EvalItem]) -> list[str]:
    """Return each item's question as it is looked for; empty for one of nothing but symbols."""
    return normalize_all([_NUMBERING.sub("", item.question) for item in items])


class LeakFinder:
    """Evaluation items, ready to be looked for in chunks of rows.

    Args:
        items: the items of every evaluation set.
        params: the share of a question that makes a row a leak.

    Attributes:
        unsearchable: items whose question is nothing but symbols; they cannot be looked for.
    """

    def __init__(self, items: Iterable[EvalItem], params: DecontaminateParams) -> None:
        items = list(items)
        self._containment = params.containment
        questions = searched_questions(items)
        self.unsearchable = [item for item, question in zip(items, questions, strict=True) if not question]
        # Items that share their question word for word are looked for once and told apart by their options.
        by_question: dict[str, list[EvalItem]] = defaultdict(list)
        for item, question in zip(items, questions, strict=True):
            if question:
                by_question[question].append(item)
        self._questions = list(by_question)
        self._items = list(by_question.values())
        self._phrases = Phrases([question for question, own in by_question.items() for _ in _choices(own)])
        self._index = SeedIndex(self._units())
        self._question = lru_cache(maxsize=_REMEMBERED_QUESTIONS)(self._make_question)
        self._options = lru_cache(maxsize=_REMEMBERED_QUESTIONS)(_make_options)

    def find(self, rows: Sequence[NormalizedRow]) -> list[list[Hit]]:
        """Return for each row the evaluation items that stand in it, best match first."""
        spoken = [(number, role, text) for number, row in enumerate(rows) for role, text in _turns(row)]
        owners, texts = [number for number, _, _ in spoken], [text for _, _, text in spoken]
        roles = "".join(role for _, role, _ in spoken)
        hits: list[dict[tuple[str, str], Hit]] = [{} for _ in rows]
        for place, numbers in self._proposed(texts, roles).items():
            turn = Turn(texts[place], roles[place] == "u", weight_of(texts[place]))
            found = hits[owners[place]]
            for hit in (hit for number in sorted(numbers) for hit in self._judge(number, turn)):
                key = (hit.eval_set, hit.item_id)
                if key not in found or found[key].containment < hit.containment:
                    found[key] = hit
        return [sorted(found.values(), key=lambda hit: (-hit.containment, hit.eval_set, hit.item_id)) for found in hits]

    def _proposed(self, texts: list[str], roles: str) -> dict[int, set[int]]:
        """Return turn -> questions that might stand in it."""
        proposed: dict[int, set[int]] = defaultdict(set)
        lengths = list(map(len, texts))
        for level in range(len(SEED_SHARES)):
            longest = {role: LONGEST_TURN.get((role, level), 0) for role in set(roles)}
            places = [
                place
                for place, (length, role) in enumerate(zip(lengths, roles, strict=True))
                if level == 0 or 0 < length <= longest[role]
            ]
            for turn, question in self._index.propose([texts[place] for place in places], level):
                proposed[places[turn]].add(question)
        return proposed

    def _units(self) -> list[Unit]:
        """Return what is looked for: questions by their weight, and the options of each item together."""
        units = []
        for number, (question, items) in enumerate(zip(self._questions, self._items, strict=True)):
            weight = weight_of(question)
            levels = [level for level in (1, 2) if weight <= SHORT_WEIGHT] + [0] * (weight >= COARSE_WEIGHT)
            units += [Unit(number, question, level, SEED_SHARES[level]) for level in levels]
            options = normalize_all(["\n".join(item.options) for item in items])
            units += [Unit(number, text, 0, OPTION_SEED_SHARE) for text in dict.fromkeys(options) if text]
        return units

    def _judge(self, number: int, turn: Turn) -> list[Hit]:
        """Return the items of a question that stand in a turn."""
        question = self._question(number)
        cover = cover_in(question, turn)
        if cover.share < WITH_OPTIONS:
            return []
        hits = []
        for item in self._items[number]:
            rule = judge(question, self._options(item.options), turn, cover, self._containment)
            if rule:
                excerpt = item.question[:QUESTION_CHARACTERS]
                hits.append(Hit(item.eval_set, item.item_id, round(cover.share, 4), rule, excerpt))
        return hits

    def _make_question(self, number: int) -> Question:
        """Return a question with how telling its characters are."""
        text = self._questions[number]
        items = self._items[number]
        names = tuple(filter(None, normalize_all(quoted_names(items[0].question))))
        return Question(text, self._phrases.telling(text), shared=len(_choices(items)) > 1, names=names)


def _turns(row: NormalizedRow) -> Iterator[tuple[str, str]]:
    """Yield (role, text) of what is searched: every turn, and each two turns of the user as one."""
    texts = row.texts
    yield from zip(row.roles, texts, strict=True)
    asked = [text for role, text in zip(row.roles, texts, strict=True) if role == "u"]
    for first, second in pairwise(asked):
        yield "u", first + second


def _choices(items: list[EvalItem]) -> set[frozenset[str]]:
    """Return the different choices one question is asked with: the more, the less the question tells."""
    return {frozenset(item.options) for item in items}


def _make_options(options: tuple[str, ...]) -> list[Question]:
    """Return an item's options, those of nothing but symbols left out."""
    return [Question(text, [1.0] * len(text)) for text in normalize_all(options) if text]
