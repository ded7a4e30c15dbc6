"""Scores of an exam as its authors report them: by subject, by category, weighted, C-Eval Hard."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tasks.evaluation.exams.schema import Exam, Subject
from tasks.evaluation.exams.tasks import GENERATED

DIGITS = 6


class Scored(Protocol):
    """A scored item."""

    suite: str
    item_id: str
    value: float
    detail: Mapping[str, Any]


def exam_facts(exam: Exam, samples: Iterable[Any]) -> dict[str, Any]:
    """Return the facts of one exam for results.json.

    Args:
        exam: the exam as it was asked.
        samples: scored items (`suite`, `item_id`, `value`, `detail`); those of other suites are passed over.

    Returns:
        {"suite", "name", "stand_in", "answer", "items", "accuracy", "weighted": {"by_subject", "by_item",
        "official"}, "hard", "marks", "categories", "subjects", "examples_dropped", "generated"}: `accuracy` is by
        item and comes from the log-likelihood where it was asked for, else from generation; "official" names the
        weighting the exam's authors report.
    """
    raise NotImplementedError
