"""What reviewers said: a file of JSON Lines each, so that two can mark at once and git can join their work."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_jsonl
from tasks.review.cards import Card

MARKS = "marks"
#: How bad it would be if somebody acted on the answer, the least first.
SEVERITIES: Final = ("none", "minor", "major", "dangerous")
REVIEWER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
MOST_CHARACTERS: Final = 8000


@dataclass(frozen=True)
class Mark:
    """One reviewer's word on one answer; None: cannot say.

    Args:
        card_id: of the answer.
        reviewer: an id, no name of a person needed.
        points: met or not, one for each key point.
        right: whether the answer (its refusal, its "not known", its number, its order) is right; None for key points.
        factual_error: whether something in it is wrong.
        severity: one of SEVERITIES.
        corrected: the answer as it should be, empty where none is given.
        comment: anything else.
    """

    card_id: str
    reviewer: str
    points: list[bool | None] = field(default_factory=list)
    right: bool | None = None
    factual_error: bool | None = None
    severity: str | None = None
    corrected: str = ""
    comment: str = ""


def require_reviewer(reviewer: str) -> str:
    """Return a reviewer's id.

    Raises:
        ConfigError: it is none.
    """
    if not REVIEWER.fullmatch(reviewer):
        raise ConfigError(f"`{reviewer}` is no id of a reviewer", "small letters, digits and -, as expert-1; no name")
    return reviewer


def checked(mark: Mark, cards: Mapping[str, Card]) -> Mark:
    """Return a mark that fits its card.

    Raises:
        DataContractError: it does not.
    """
    card = cards.get(mark.card_id)
    if card is None:
        raise DataContractError(f"no answer {mark.card_id} in this review", "tunegate review serve shows those it has")
    problems = []
    if len(mark.points) != len(card.points):
        problems.append(f"{len(mark.points)} marks for {len(card.points)} key points")
    if not all(value in (True, False, None) for value in (*mark.points, mark.right, mark.factual_error)):
        problems.append("a mark is yes, no or left open")
    if card.points and mark.right is not None:
        problems.append("an answer with key points is right by them")
    if mark.severity not in (*SEVERITIES, None):
        problems.append(f"severity is one of {', '.join(SEVERITIES)}")
    if max(len(mark.corrected), len(mark.comment)) > MOST_CHARACTERS:
        problems.append(f"a text has more than {MOST_CHARACTERS} characters")
    if problems:
        raise DataContractError(f"{mark.card_id}, {mark.reviewer}: {'; '.join(problems)}", "mark it again")
    return mark


def marks_file(folder: Path, reviewer: str) -> Path:
    """Return the file of a reviewer's marks."""
    return folder / MARKS / f"{require_reviewer(reviewer)}.jsonl"


def add_mark(folder: Path, mark: Mark, cards: Sequence[Card]) -> None:
    """Append a mark; it is on the disk when this returns. A later one on the same answer counts instead.

    Raises:
        ConfigError: the reviewer's id is none.
        DataContractError: it does not fit its card.
    """
    checked(mark, {card.card_id: card for card in cards})
    path = marks_file(folder, mark.reviewer)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(mark), sort_keys=True, ensure_ascii=False) + "\n"
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def read_marks(folder: Path, cards: Sequence[Card]) -> dict[str, dict[str, Mark]]:
    """Return reviewer -> card -> mark, the last of each.

    Raises:
        DataContractError: a line is no mark, of another reviewer than its file's, or does not fit its card.
    """
    by_id = {card.card_id: card for card in cards}
    found: dict[str, dict[str, Mark]] = {}
    for path in sorted((folder / MARKS).glob("*.jsonl")):
        marks = found.setdefault(require_reviewer(path.stem), {})
        for number, row in enumerate(read_jsonl(path), start=1):
            mark = checked(_mark(row, f"{path}:{number}"), by_id)
            if mark.reviewer != path.stem:
                raise DataContractError(
                    f"{path}:{number} is of {mark.reviewer}", "each reviewer has a file of their own"
                )
            marks[mark.card_id] = mark
    return found


def _mark(row: Any, where: str) -> Mark:
    """Return a line as a mark."""
    try:
        return Mark(**row)
    except TypeError as error:
        raise DataContractError(f"{where} is no mark: {error}", "mend or remove the line") from error
