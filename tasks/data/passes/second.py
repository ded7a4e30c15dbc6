"""Second pass: what only all rows together can tell. Ids, duplicates, leaks, splits, and so the fate of every row."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from tasks.chat.conversation import Message
from tasks.core.settings import NearDuplicateParams, PrepareParams
from tasks.data.ledger.ledger import copy_number
from tasks.data.matching.deduplicate import row_grams
from tasks.data.matching.ngrams import Grams, jaccard
from tasks.data.matching.normalization import NormalizedRow, normalized_rows
from tasks.data.matching.similar import near_duplicates
from tasks.data.matching.wording import Wording, slight
from tasks.data.passes.facts import LANGUAGE_NUMBERS, REASON_NUMBER, Columns, Gathered, Integers
from tasks.data.split import calibration_rows, in_validation

log = logging.getLogger(__name__)

Flags = npt.NDArray[np.bool_]
NOWHERE = -1
#: Wordings kept in memory: those a large group is compared with come back soon.
_REMEMBERED_WORDINGS = 4096
#: Pairs whose likeness is measured at once.
_COMPARED_AT_ONCE = 256


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
    texts = SpooledTexts(gathered, params.near_duplicate)
    _drop(*_copies(columns.said, best_first), "exact_duplicate", np.float64(1.0), fates)
    _drop_near_duplicates(texts, fates.staying(best_first), params, fates)
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


def _copies(keys: npt.NDArray[np.uint64], best_first: Integers) -> tuple[Integers, Integers]:
    """Return rows whose keys are those of a better row, and that row for each.

    Args:
        keys: of all rows; shape (rows, 2).
        best_first: the rows to look at, the best first.
    """
    if not len(best_first):
        return best_first, best_first
    own = keys[best_first]
    order = np.lexsort((own[:, 1], own[:, 0]))
    same = np.r_[False, (own[order][1:] == own[order][:-1]).all(axis=1)]
    # lexsort is stable: within a group the best row stands first.
    heads = order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))]
    return best_first[order[same]], best_first[heads[same]]


def _drop(rows: Integers, heads: Integers, reason: str, likeness: npt.ArrayLike, fates: Fates) -> None:
    """Drop rows for the rows that stand for them; what had been dropped for a row follows it."""
    earlier = np.flatnonzero(fates.kept_row != NOWHERE)
    fates.drop(rows, reason, heads, likeness)
    moved = earlier[fates.kept_row[fates.kept_row[earlier]] != NOWHERE]
    between = fates.kept_row[moved]
    fates.drop(moved, reason, fates.kept_row[between], np.minimum(fates.jaccard[moved], fates.jaccard[between]))


def _drop_near_duplicates(texts: "SpooledTexts", best_first: Integers, params: PrepareParams, fates: Fates) -> None:
    """Drop rows that say what a kept one says: but for talk around it, then but for slips of the hand."""
    keys = np.repeat(texts.gathered.columns.core[:, None], 2, axis=1)
    rows, heads = _copies(keys, best_first)
    _drop(rows, heads, "near_duplicate", texts.likeness(rows, heads), fates)
    staying = fates.staying(best_first)
    found = near_duplicates(texts.gathered.bands, staying, texts.grams, params.near_duplicate, texts.one)
    if found:
        rows, kept, likeness = (np.array(values) for values in zip(*found, strict=True))
        _drop(rows, kept, "near_duplicate", likeness, fates)


class SpooledTexts:
    """Rows as they lie in the spool, ready to be compared.

    Args:
        gathered: facts and texts of all rows.
        params: how rows are compared.
    """

    def __init__(self, gathered: Gathered, params: NearDuplicateParams) -> None:
        self.gathered = gathered
        self._params = params
        self._wordings: OrderedDict[int, Wording] = OrderedDict()
        #: Rows whose n-grams were asked for last: these are judged next, and one by one they cost six times as much.
        self._last: dict[int, NormalizedRow] = {}

    def grams(self, rows: Sequence[int]) -> list[Grams]:
        """Return the distinct n-grams of some rows."""
        languages = self.gathered.columns.language
        spoken = [LANGUAGE_NUMBERS[languages[row]] for row in rows]
        normal = self._normalized(rows)
        self._last = dict(zip(rows, normal, strict=True))
        return row_grams(normal, spoken, self._params)

    def one(self, row: int, other: int) -> bool:
        """Tell whether two rows that are alike are one."""
        return slight(self._wording(row), self._wording(other))

    def likeness(self, rows: Integers, others: Integers) -> npt.NDArray[np.float64]:
        """Return the Jaccard similarity of pairs; shape (rows,)."""
        found = np.empty(len(rows))
        for start in range(0, len(rows), _COMPARED_AT_ONCE):
            these = slice(start, start + _COMPARED_AT_ONCE)
            pairs = zip(self.grams(rows[these].tolist()), self.grams(others[these].tolist()), strict=True)
            found[these] = [jaccard(*pair) for pair in pairs]
        return found

    def _wording(self, row: int) -> Wording:
        """Return the wording of a row, of those asked for last from memory."""
        if row not in self._wordings:
            self._wordings[row] = Wording(self._last.get(row) or self._normalized([row])[0])
            if len(self._wordings) > _REMEMBERED_WORDINGS:
                self._wordings.popitem(last=False)
        return self._wordings[row]

    def _normalized(self, rows: Sequence[int]) -> list[NormalizedRow]:
        """Return some rows, normalized."""
        conversations: list[list[Message]] = [orjson.loads(self.gathered.row(row))["messages"] for row in rows]
        return normalized_rows(conversations)


def cluster_name(members: npt.NDArray[np.uint64]) -> str:
    """Return the stable id of a cluster from the ids of its members."""
    digest = hashlib.sha256(np.sort(members).astype(">u8").tobytes())
    return f"c-{digest.hexdigest()[:12]}"
