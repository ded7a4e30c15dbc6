"""Second pass: what only all rows together can tell. Ids, duplicates, leaks, splits, and so the fate of every row."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from tasks.chat.conversation import Message
from tasks.core.settings import PrepareParams
from tasks.data.ledger.ledger import copy_number
from tasks.data.matching.deduplicate import row_grams
from tasks.data.matching.ngrams import Grams
from tasks.data.matching.normalization import normalized_rows
from tasks.data.matching.similar import near_duplicates
from tasks.data.passes.facts import LANGUAGE_NUMBERS, REASON_NUMBER, Columns, Gathered, Integers
from tasks.data.split import calibration_rows, in_validation

log = logging.getLogger(__name__)

Flags = npt.NDArray[np.bool_]
NOWHERE = -1


@dataclass
class Fates:
    """Why rows leave, and for whom; shape (rows,).

    Args:
        reason: number in `REASONS`, 0 for a kept row.
        kept_row: the row kept in its place, -1 for a row that is no duplicate.
        jaccard: similarity to that row.
    """

    reason: npt.NDArray[np.uint8]
    kept_row: Integers
    jaccard: npt.NDArray[np.float64]

    def drop(self, rows: Integers, reason: str, kept_row: Integers, jaccard: npt.ArrayLike) -> None:
        """Drop duplicates for the rows that stand for them."""
        self.reason[rows] = REASON_NUMBER[reason]
        self.kept_row[rows] = kept_row
        self.jaccard[rows] = jaccard

    def staying(self, rows: Integers) -> Integers:
        """Return those of some rows that nothing has dropped yet."""
        return rows[self.reason[rows] == 0]


@dataclass
class Decisions:
    """The fate of every row; shape (rows,) where nothing else is said.

    Args:
        name: final row id as a number.
        index: position of the row in its file, from 0.
        fates: why rows leave, and for whom.
        kept: whether the row stays.
        validation: whether the row, if it stays, validates.
        calibration: rows that calibrate the quantization, in order; shape (calibration rows,).
    """

    name: npt.NDArray[np.uint64]
    index: Integers
    fates: Fates
    kept: Flags
    validation: Flags
    calibration: Integers


def decide(gathered: Gathered, params: PrepareParams) -> Decisions:
    """Return the fate of every row."""
    columns = gathered.columns
    rows = len(columns)
    name = _names(columns)
    fates = Fates(columns.reason.copy(), np.full(rows, NOWHERE, dtype=np.int64), np.zeros(rows))
    best_first = _best_first(columns, name, fates.staying(np.arange(rows)))
    _drop_copies(columns, best_first, fates)
    _drop_near_duplicates(gathered, fates.staying(best_first), params, fates)
    fates.reason[(fates.reason == 0) & (columns.leaks > 0)] = REASON_NUMBER["eval_leak"]
    kept = fates.reason == 0
    validation = kept & in_validation(columns.content, params.validation_fraction)
    train = np.flatnonzero(kept & ~validation)
    chinese = columns.language[train] == LANGUAGE_NUMBERS.index("zh")
    calibration = train[calibration_rows(columns.content[train], name[train], chinese, params.calibration_rows)]
    return Decisions(name, _indexes(gathered), fates, kept, validation, calibration)


def _names(columns: Columns) -> npt.NDArray[np.uint64]:
    """Return ids in which copies of a row within a file have their own."""
    names = columns.name.copy()
    order = np.argsort(names, kind="stable")
    again = np.flatnonzero(names[order][1:] == names[order][:-1]) + 1
    occurrence = 0
    for place in again.tolist():
        # Stable order: the first row of a run came first in its file.
        first = columns.name[order[place - 1]] != columns.name[order[place - 2]] if place > 1 else True
        occurrence = 1 if first else occurrence + 1
        names[order[place]] = copy_number(int(columns.name[order[place]]), occurrence)
    return names


def _indexes(gathered: Gathered) -> Integers:
    """Return the position of every row in its file; the chunks of a file follow each other."""
    index = np.arange(len(gathered.columns), dtype=np.int64)
    first_row: dict[str, int] = {}
    for number, start, end in gathered.chunks():
        index[start:end] -= first_row.setdefault(gathered.sources[number], start)
    return index


def _best_first(columns: Columns, name: npt.NDArray[np.uint64], rows: Integers) -> Integers:
    """Return rows by the stated rule: longest answer, then lowest row id; of copies the one with marks stands first.

    Else a copy without marks would teach what its author's marks keep from being learnt.
    """
    return rows[np.lexsort((name[rows], -columns.answer_characters[rows], -columns.untaught[rows]))]


def _drop_copies(columns: Columns, best_first: Integers, fates: Fates) -> None:
    """Drop all but the best row of each group with the same normalized conversation."""
    if not len(best_first):
        return
    content = columns.content[best_first]
    order = np.lexsort((content[:, 1], content[:, 0]))
    same = np.r_[False, (content[order][1:] == content[order][:-1]).all(axis=1)]
    # lexsort is stable: within a group the best row stands first.
    heads = order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))]
    fates.drop(best_first[order[same]], "exact_duplicate", best_first[heads[same]], 1.0)


def _drop_near_duplicates(gathered: Gathered, best_first: Integers, params: PrepareParams, fates: Fates) -> None:
    """Drop rows that are almost a kept one; their exact copies follow them to the row that is kept."""
    languages = gathered.columns.language

    def grams_of(rows: Sequence[int]) -> list[Grams]:
        conversations: list[list[Message]] = [orjson.loads(gathered.row(row))["messages"] for row in rows]
        spoken = [LANGUAGE_NUMBERS[languages[row]] for row in rows]
        return row_grams(normalized_rows(conversations), spoken, params.near_duplicate)

    found = near_duplicates(gathered.bands, best_first, grams_of, params.near_duplicate)
    if not found:
        return
    rows, kept, likeness = (np.array(values) for values in zip(*found, strict=True))
    copies = np.flatnonzero(fates.reason == REASON_NUMBER["exact_duplicate"])
    fates.drop(rows, "near_duplicate", kept, likeness)
    moved = copies[fates.reason[fates.kept_row[copies]] == REASON_NUMBER["near_duplicate"]]
    heads = fates.kept_row[moved]
    fates.drop(moved, "near_duplicate", fates.kept_row[heads], fates.jaccard[heads])


def cluster_name(members: npt.NDArray[np.uint64]) -> str:
    """Return the stable id of a cluster from the ids of its members."""
    digest = hashlib.sha256(np.sort(members).astype(">u8").tobytes())
    return f"c-{digest.hexdigest()[:12]}"
