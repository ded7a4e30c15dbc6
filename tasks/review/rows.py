"""Verdicts as rows that stage prepare reads: good answers, corrected ones beside the bad, bad ones marked as bad.

A row's fate stands in the ledger as any other's. The questions of an evaluation pack are found there as leaks and
dropped: what a model is examined on it must not learn. Questions of callers (feedback) are not.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tasks.core.errors import ConfigError
from tasks.core.files import write_jsonl
from tasks.review.cards import Card
from tasks.review.marks import Mark
from tasks.review.report import Marks

#: An answer somebody could come to harm by.
BAD: Final = ("major", "dangerous")
Row = dict[str, Any]


def review_rows(cards: Sequence[Card], marks: Marks) -> tuple[list[Row], Counter[str]]:
    """Return the rows of a review, and how many answers gave what.

    Args:
        cards: its answers.
        marks: reviewer -> card -> mark.

    Returns:
        Rows, and counts by what became of an answer: `good`, `corrected`, `bad`, or why it is no row: `unmarked`,
        `undecided` (reviewers differ, or leave open what decides), `two_corrections`.
    """
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    for card in cards:
        given = [by_card[card.card_id] for by_card in marks.values() if card.card_id in by_card]
        what, row = _row(card, given)
        counts[what] += 1
        rows += [row] if row else []
    return rows, counts


def _row(card: Card, given: Sequence[Mark]) -> tuple[str, Row | None]:
    """Return what became of an answer, and its row where it is one."""
    if not given:
        return "unmarked", None
    corrections = {mark.corrected.strip() for mark in given} - {""}
    if len(corrections) > 1:
        return "two_corrections", None
    asked = [{"role": "user", "content": card.question}]
    verdicts = {_verdict(mark) for mark in given}
    if corrections and "good" not in verdicts:
        return "corrected", preference(asked, corrections.pop(), card.answer)
    if corrections or len(verdicts) > 1 or None in verdicts:
        return "undecided", None
    return ("good", answered(asked, card.answer)) if verdicts == {"good"} else ("bad", marked_bad(asked, card.answer))


def _verdict(mark: Mark) -> str | None:
    """Return whether a reviewer found an answer good or bad; None: neither."""
    if mark.factual_error or mark.right is False or mark.severity in BAD:
        return "bad"
    whole = all(mark.points) if mark.points else mark.right is True
    return "good" if whole and mark.factual_error is False and mark.severity in ("none", None) else None


def answered(messages: Sequence[Mapping[str, Any]], answer: str) -> Row:
    """Return a row that teaches an answer."""
    return {"messages": [*messages, {"role": "assistant", "content": answer}]}


def preference(messages: Sequence[Mapping[str, Any]], chosen: str, rejected: str) -> Row:
    """Return a row that teaches an answer, the other one kept beside it."""
    return {
        "prompt": list(messages),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def marked_bad(messages: Sequence[Mapping[str, Any]], answer: str) -> Row:
    """Return a row whose answer is marked as a bad one: stage prepare keeps it out, and its ledger says so."""
    return {"messages": [*messages, {"role": "assistant", "content": answer}], "label": False}


def write_rows(file: Path, rows: Iterable[Row], *, replace: bool = False) -> int:
    """Write rows as JSON Lines and return how many.

    Args:
        file: to write.
        rows: of a review or of feedback.
        replace: whether a file of this name may be replaced.

    Raises:
        ConfigError: the file is there already.
    """
    if file.exists() and not replace:
        raise ConfigError(f"{file} is there already", "name another file: --to FILE, or --replace")
    return write_jsonl(file, rows)
