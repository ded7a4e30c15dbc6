"""The score of one answer, by the kind of its item."""

from collections.abc import Callable
from typing import Any

from tasks.evaluation.pack.keypoints import found_points
from tasks.evaluation.pack.numeric import score_numeric
from tasks.evaluation.pack.open_answers import score_open_answer
from tasks.evaluation.pack.ordering import score_order
from tasks.evaluation.thinking import split_thinking
from tasks.exams.pack.schema import Item

Scored = tuple[float, dict[str, Any]]


def score_answer(item: Item, text: str, *, thinking_opened: bool = False) -> Scored:
    """Return the value of an answer and its detail: the text scored, why it failed, what the kind adds.

    Args:
        item: of the pack.
        text: the answer as received.
        thinking_opened: whether the prompt itself already ended in `<think>`.
    """
    answer, thought = split_thinking(text, opened=thinking_opened)
    detail: dict[str, Any] = {"text": answer if answer is not None else text}
    if thought is not None:
        detail["thinking"] = {"characters": len(thought), "closed": answer is not None}
    if answer is None or not answer.strip():
        return 0.0, detail | {"failure": "unclosed_thinking" if answer is None else "empty"}
    value, more = _SCORERS[_form(item)](item, answer)
    return value, detail | more


def _form(item: Item) -> str:
    """Return by which rule an item is scored."""
    if item["kind"] != "thinking":
        return str(item["kind"])
    return "choice" if "choices" in item else "numeric"


def _key_points(item: Item, answer: str) -> Scored:
    """Score a short answer by its key points."""
    found = found_points(item["key_points"], answer, item["reference"])
    return sum(found) / len(found), {"points": found, "failure": None if all(found) else "missing_points"}


def _letter(item: Item, answer: str) -> Scored:
    """Score the letter an answer gives."""
    from tasks.evaluation.multiple_choice.extraction import extract_letter

    chosen = extract_letter(answer)
    failure = "no_letter" if chosen is None else None if chosen == item["answer"] else "wrong_letter"
    return float(failure is None), {"answer": item["answer"], "chosen": chosen, "failure": failure}


_SCORERS: dict[str, Callable[[Item, str], Scored]] = {
    "short": _key_points,
    "choice": _letter,
    "numeric": score_numeric,
    "order": score_order,
    "refuse": score_open_answer,
    "unknown": score_open_answer,
}
