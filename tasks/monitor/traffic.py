"""What callers asked the live version and what they were answered, as the audit log has it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.monitor.questions import question_of
from tasks.serving.audit.chain import day_files, whole_lines
from tasks.serving.rollout.watch import said_in

#: Keys that this project makes for its own questions.
OWN_KEYS = ("eval-live-", "monitor-")
ANSWERED = 200


@dataclass
class Traffic:
    """The window's requests of callers.

    Args:
        questions: masked, as the log keeps them.
        answers: how many came whole.
        refusals, unknowns: of these, how many refuse and how many say that something is not known.
    """

    questions: list[str] = field(default_factory=list)
    answers: int = 0
    refusals: int = 0
    unknowns: int = 0


def read_traffic(folder: Path, since: datetime, lineage_id: str) -> Traffic:
    """Return what was asked of a version since a time.

    Args:
        folder: of the audit log; a record that is being written, or damaged, is passed over (`tunegate audit verify`
            is what judges the log).
        since: with a time zone.
    """
    found, asked = Traffic(), set()
    for record in _records(folder, since):
        if record.get("kind") == "request" and record.get("lineage_id") == lineage_id:
            if str(record.get("key", "")).startswith(OWN_KEYS):
                continue
            asked.add(record.get("request_id"))
            if text := question_of(record.get("prompt")):
                found.questions.append(text)
        elif record.get("kind") == "answer" and record.get("request_id") in asked:
            _count_answer(found, record)
    return found


def _count_answer(found: Traffic, record: dict[str, Any]) -> None:
    """Add one answer."""
    text = _text(record.get("answer"))
    if record.get("status") != ANSWERED or not text:
        return
    refusal, unknown = said_in(text)
    found.answers += 1
    found.refusals += refusal
    found.unknowns += unknown


def _text(answer: Any) -> str:
    """Return the content of an answer; the first choice's where there are several, "" where it has none."""
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    if isinstance(answer, dict):
        answer = answer.get("content")
    return answer if isinstance(answer, str) else ""


def _records(folder: Path, since: datetime) -> Iterator[dict[str, Any]]:
    """Yield the records from a time on."""
    first_day = since.date().isoformat()
    for path in day_files(folder):
        if path.stem < first_day:
            continue
        for _, line in whole_lines(path):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and _is_since(record.get("time"), since):
                yield record


def _is_since(time: Any, since: datetime) -> bool:
    """Tell whether a record's time is not before another."""
    try:
        return datetime.fromisoformat(time) >= since
    except (TypeError, ValueError):
        return False
