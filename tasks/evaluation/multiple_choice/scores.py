"""Scores of an exam as its authors report them: by subject, by category, weighted, and groups such as C-Eval Hard."""

import math
from collections.abc import Iterable
from typing import Any

from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.evaluation.multiple_choice.tasks import GENERATED, TASK_VERSION
from tasks.exams.schema import LETTERS, Exam, Subject

DIGITS = 6
#: Both exams are reported as the mean of their subjects' accuracies: C-Eval's README ("average answer-only accuracy
#: across all subjects"), CMMLU's `get_results` in `src/mp_utils.py`.
OFFICIAL = "by_subject"


def exam_facts(exam: Exam, samples: Iterable[Any]) -> dict[str, Any]:
    """Return the facts of one exam for results.json.

    Args:
        exam: the exam as it was asked.
        samples: scored items with `suite`, `item_id`, `value` and `detail`; those of other suites are passed over.

    Returns:
        `suite` (where `accuracy` comes from: log-likelihood where it was asked for, else generation), `items`,
        `accuracy` (by item), `weighted` {by_subject, by_item, official: the name of the authors' weighting}, `hard`
        (C-Eval Hard; null for other exams), `marks`, `categories`, `subjects`, `answer_logprob` (mean log-probability
        of the right letter in nats: moves with a broken prompt even where a weak model's accuracy is chance either
        way), `ties` (items whose two likeliest letters are equally likely, as coarse bf16 logits make them: the first
        letter wins), both null where not asked by log-likelihood, `generated` (null where not asked), and how it was
        asked. Accuracies are shares, 0 to 1; those of categories and marks are means of their subjects.

    Raises:
        DataContractError: an item is missing, scored twice, unknown, or its value is no 0 or 1.
    """
    by_suite: dict[str, list[Any]] = {exam.name: [], exam.name + GENERATED: []}
    for sample in samples:
        if sample.suite in by_suite:
            by_suite[sample.suite].append(sample)
    likelihood = _checked(exam, exam.name, by_suite) if exam.by_likelihood else None
    generated = _checked(exam, exam.name + GENERATED, by_suite) if exam.by_generation else None
    main = likelihood or generated or {}
    values = {item: float(sample.value) for item, sample in main.items()}
    marked = {mark: _group(_marked(exam, mark), values) for mark in exam.style.marks}
    return {
        "suite": exam.name if likelihood else exam.name + GENERATED,
        "items": len(values),
        "accuracy": _mean(list(values.values())),
        "weighted": _weighted(exam, values),
        "hard": marked.get("hard"),
        "marks": {words: marked[mark] for mark, words in exam.style.marks.items() if marked[mark]},
        "categories": _categories(exam, values),
        "subjects": {subject.key: _subject(subject, values) for subject in exam.subjects},
        "answer_logprob": _answer_logprob(likelihood) if likelihood else None,
        "ties": _ties(likelihood) if likelihood else None,
        "generated": _generated(exam, generated, likelihood) if generated else None,
        **_asked(exam),
    }


def _asked(exam: Exam) -> dict[str, Any]:
    """Return how the exam was asked: results that differ in any of this do not compare."""
    prompts = [[q.item_id, exam.prompt(s, q), q.answer] for s in exam.subjects for q in _scored(exam, s)]
    return {
        "name": exam.name,
        "stand_in": exam.stand_in,
        "answer": exam.params.answer,
        "few_shot": exam.params.few_shot,
        "chat_template": exam.params.chat_template,
        "limit": exam.params.limit,
        "task_version": TASK_VERSION,
        "prompts_sha256": sha256_json(sorted(prompts)),
        "examples_dropped": {"items": len(exam.dropped), "examples": sum(exam.dropped.values())},
    }


def _scored(exam: Exam, subject: Subject) -> list[Any]:
    """Return the questions of a subject that were asked."""
    return subject.questions[: exam.params.limit]


def _checked(exam: Exam, suite: str, by_suite: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the samples of one suite by item, in the exam's order: all of them, each once, each 0 or 1."""
    found: dict[str, Any] = {}
    problems = []
    for sample in by_suite[suite]:
        if sample.item_id in found:
            problems.append(f"{sample.item_id} is scored twice")
        if sample.value not in (0, 1):
            problems.append(f"{sample.item_id} has the value {sample.value!r}")
        found[sample.item_id] = sample
    asked = [question.item_id for subject in exam.subjects for question in _scored(exam, subject)]
    problems += [f"{item} was not scored" for item in asked if item not in found]
    problems += [f"{item} is no item of the exam" for item in sorted(set(found) - set(asked))]
    if problems or not asked:
        shown = "; ".join(problems[:5]) or "no items"
        raise DataContractError(
            f"{suite}: {len(problems)} of {len(asked)} items have no usable score: {shown}",
            "run the evaluation again: answers already received are kept",
        )
    return {item: found[item] for item in asked}


def _weighted(exam: Exam, values: dict[str, float]) -> dict[str, Any]:
    """Return the exam's accuracy both ways."""
    return {
        "by_subject": _group(exam.subjects, values)["accuracy"],
        "by_item": _mean(list(values.values())),
        "official": OFFICIAL,
    }


def _categories(exam: Exam, values: dict[str, float]) -> dict[str, Any]:
    """Return the group of each category, in the exam's own order of names."""
    names = sorted({subject.category for subject in exam.subjects}, key=_category_order)
    return {name: _group([s for s in exam.subjects if s.category == name], values) for name in names}


def _category_order(name: str) -> tuple[int, str]:
    """Return where a category stands in the leaderboards of both exams."""
    order = ("STEM", "Social Science", "Humanities", "Other")
    return (order.index(name) if name in order else len(order), name)


def _marked(exam: Exam, mark: str) -> list[Subject]:
    """Return the subjects that carry a mark."""
    return [subject for subject in exam.subjects if mark in subject.marks]


def _group(subjects: list[Subject], values: dict[str, float]) -> dict[str, Any]:
    """Return items, number of subjects, and accuracy of several subjects; empty where there are none."""
    scores = [_subject(subject, values) for subject in subjects]
    if not scores:
        return {}
    items = sum(score["items"] for score in scores)
    return {
        "items": items,
        "subjects": len(scores),
        "accuracy": _mean([score["accuracy"] for score in scores]),
        "accuracy_by_item": round(math.fsum(score["accuracy"] * score["items"] for score in scores) / items, DIGITS),
    }


def _subject(subject: Subject, values: dict[str, float]) -> dict[str, Any]:
    """Return one subject's score."""
    own = [values[question.item_id] for question in subject.questions if question.item_id in values]
    return {"name_zh": subject.name, "category": subject.category, "items": len(own), "accuracy": _mean(own)}


def _answer_logprob(likelihood: dict[str, Any]) -> float:
    """Return the mean log-probability of the right letter, in nats."""
    details = [sample.detail for sample in likelihood.values()]
    return _mean([float(detail["logprobs"][LETTERS.index(detail["answer"])]) for detail in details])


def _ties(likelihood: dict[str, Any]) -> int:
    """Return how many items have two likeliest letters."""
    leading = [sorted(sample.detail["logprobs"])[-2:] for sample in likelihood.values()]
    return sum(first == second for first, second in leading)


def _generated(exam: Exam, generated: dict[str, Any], likelihood: dict[str, Any] | None) -> dict[str, Any]:
    """Return the scores of the generated answers and how they differ from the likeliest letters."""
    values = {item: float(sample.value) for item, sample in generated.items()}
    chosen = {item: sample.detail["chosen"] for item, sample in generated.items()}
    differing = [item for item in chosen if likelihood and likelihood[item].detail["chosen"] != chosen[item]]
    return {
        "items": len(values),
        "accuracy": _mean(list(values.values())),
        "by_subject": _group(exam.subjects, values)["accuracy"],
        "unanswered": sum(letter is None for letter in chosen.values()),
        "differs": len(differing) if likelihood else None,
        "subjects": {subject.key: _subject(subject, values)["accuracy"] for subject in exam.subjects},
    }


def _mean(values: list[float]) -> float:
    """Return the mean, rounded."""
    return round(math.fsum(values) / len(values), DIGITS)
