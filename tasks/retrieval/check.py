"""How well the index finds: labelled questions, recall and rank with intervals, by kind and by half.

A label names a document and words that stand in the passage that answers: it outlives another cut of the passages. Half
of the questions are for choosing settings (`tune`), the other half is only measured (`held`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.exams.pack.spelling import cleaned
from tasks.retrieval.index import Hit, Index
from tasks.retrieval.passages import Passage

DEPTHS = (1, 5, 10)
CONFIDENCE = 0.95
BOOTSTRAP_SAMPLES, SEED = 2000, 42
Kind = Literal["plain", "paraphrase", "units", "traditional", "english", "unanswerable"]


class Label(BaseModel):
    """A passage that answers: its document, and words that stand in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    document: str
    holds: str = Field(min_length=1)


class Question(BaseModel):
    """One labelled question.

    Args:
        kind: how it is asked: in the documents' own words, in others, with other units, in traditional characters, in
            English, or about what no document says.
        half: tune or held.
        answers: passages any of which answers it; none where no document does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[\w-]{1,64}$")
    lang: Literal["zh", "en"]
    kind: Kind
    half: Literal["tune", "held"]
    question: str = Field(min_length=1)
    answers: list[Label]


def read_questions(path: Path, passages: Sequence[Passage]) -> list[Question]:
    """Return the labelled questions of a file.

    Args:
        path: JSON Lines.
        passages: of the index: a label that names none of them is a problem.

    Raises:
        DataContractError: a line breaks the schema, an id stands twice, or a label names no passage; all are named.
    """
    questions: list[Question] = []
    problems: list[str] = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            question = Question.model_validate(row)
        except ValidationError as error:
            problems.append(f"{path}:{number}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}")
            continue
        lost = [label for label in question.answers if not any(_is_meant(label, one) for one in passages)]
        problems += [f"{path}:{number}: no passage of {one.document} holds {one.holds!r}" for one in lost]
        if (question.kind == "unanswerable") == bool(question.answers):
            problems.append(f"{path}:{number}: {question.kind} with {len(question.answers)} answers")
        questions.append(question)
    ids = [question.id for question in questions]
    problems += [f"{path}: id {one} stands twice" for one in sorted({one for one in ids if ids.count(one) > 1})]
    if problems or not questions:
        raise DataContractError(
            "the labelled questions are not usable:\n  " + "\n  ".join(problems[:20] or [f"{path} is empty"]),
            "mend the lines; tunegate index search shows passages",
        )
    return questions


def check_index(index: Index, questions: Sequence[Question], least_share: float) -> dict[str, Any]:
    """Return recall, rank and how well unanswerable questions are told, over all, by half and by kind.

    Args:
        index: what is measured.
        questions: labelled.
        least_share: of `serve.grounded`: under it nothing counts as found.

    Raises:
        TransientError: the embedding model does not answer.
    """
    ranked = [(question, index.search(question.question, max(DEPTHS))) for question in questions]
    groups: dict[str, list[tuple[Question, list[Hit]]]] = {"all": ranked}
    for question, hits in ranked:
        groups.setdefault(f"half:{question.half}", []).append((question, hits))
        groups.setdefault(f"kind:{question.kind}", []).append((question, hits))
    found = {name: _measured(index, group, least_share) for name, group in groups.items()}
    missed = [question.id for question, hits in ranked if question.answers and not 0 < _rank(question, hits) <= 5]
    return {"index": index.lineage_id, "questions": len(questions), "groups": found, "missed_at_5": missed}


def _measured(index: Index, ranked: list[tuple[Question, list[Hit]]], least_share: float) -> dict[str, Any]:
    """Return the measures of some questions."""
    ranks = [_rank(question, hits) for question, hits in ranked if question.answers]
    found: dict[str, Any] = {"questions": len(ranked), "answerable": len(ranks)}
    if ranks:
        found |= {f"recall@{depth}": share_of(0 < rank <= depth for rank in ranks) for depth in DEPTHS}
        found["mrr"] = _mean([1 / rank if rank else 0.0 for rank in ranks])
        found["found"] = share_of(_is_found(index, hits, least_share) for question, hits in ranked if question.answers)
    silent = [not _is_found(index, hits, least_share) for question, hits in ranked if not question.answers]
    if silent:
        found["told_unanswerable"] = share_of(silent)
    return found


def _is_found(index: Index, hits: list[Hit], least_share: float) -> bool:
    """Tell whether anything counts as found."""
    return any(index.is_found(hit, least_share) for hit in hits)


def _rank(question: Question, hits: list[Hit]) -> int:
    """Return the place of the first passage that answers, from 1; 0 where none does."""
    for rank, hit in enumerate(hits, start=1):
        if any(_is_meant(label, hit.passage) for label in question.answers):
            return rank
    return 0


def _is_meant(label: Label, passage: Passage) -> bool:
    """Tell whether a passage is the one that a label means."""
    return label.document == passage.document and cleaned(label.holds) in cleaned(passage.text)


def share_of(outcomes: Iterable[bool]) -> dict[str, Any]:
    """Return a share with its Clopper-Pearson interval."""
    hits = list(outcomes)
    interval = stats.binomtest(sum(hits), len(hits)).proportion_ci(CONFIDENCE, method="exact")
    ends = [round(float(interval.low), 4), round(float(interval.high), 4)]
    return {"value": sum(hits) / len(hits), "interval": ends, "n": len(hits)}


def _mean(values: list[float]) -> dict[str, Any]:
    """Return a mean with its percentile bootstrap interval, seeded."""
    drawn = np.random.default_rng(SEED).choice(values, size=(BOOTSTRAP_SAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(drawn.mean(axis=1), [tail, 100 - tail])
    return {
        "value": float(np.mean(values)),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "n": len(values),
    }
