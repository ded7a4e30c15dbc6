"""Near-duplicates among rows that share a band: found exactly, without comparing all with all.

Rows linked by shared bands form groups; who is one with whom, of those alike, a judge may decide (`wording.slight`). In
a small group every row is compared with every kept one. In a large one (a template filled in a hundred thousand times)
rows are compared only where they share one of their rarest n-grams: two rows similar enough must, so nothing is missed.

Source: the prefix filter of Chaudhuri, Ganti, Kaushik, A Primitive Operator for Similarity Joins in Data Cleaning,
ICDE 2006.
"""

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.settings import NearDuplicateParams
from tasks.data.matching.ngrams import Grams, jaccard

Rows = npt.NDArray[np.int64]
Shortened = npt.NDArray[np.uint32]
GramsOf = Callable[[int], Shortened]
GramsOfMany = Callable[[Sequence[int]], Sequence[Grams]]
Match = tuple[int, int, float]
#: Whether two rows that are alike are one.
Judge = Callable[[int, int], bool]

#: Up to this many rows all are compared with all.
_SMALL_GROUP = 24
#: Rows whose n-grams say which n-grams of a large group are rare.
_SAMPLE_ROWS = 1000
#: A row of a large group is compared with the kept rows it shares most rare n-grams with, at most this many.
_MOST_CANDIDATES = 64
#: The judge is asked about this many of the kept rows most like a row.
_MOST_JUDGED = 4
_REMEMBERED_ROWS = 60_000
#: Rows whose n-grams are made at once: enough to save most of the cost of one by one.
_FETCHED_ROWS = 512
#: Bands held in memory at once, read together: a column alone costs the whole file each time.
_BANDS_AT_ONCE = 8
_COUNT_SHIFT, _HASH_SHIFT = np.uint64(48), np.uint64(32)


def near_duplicates(
    bands: Grams, order: Rows, grams_of: GramsOfMany, params: NearDuplicateParams, judge: Judge | None = None
) -> list[Match]:
    """Return (row, row kept in its place, Jaccard) for every near-duplicate.

    Args:
        bands: keys from `Fingerprinter.bands`; shape (all rows, bands). May be memory-mapped.
        order: rows to look at, the best first; the best of similar rows is kept.
        grams_of: n-grams of some rows, those of a row distinct and sorted; asked only of rows that share a band.
        params: the Jaccard similarity from which two rows are alike.
        judge: tells of two rows that are alike whether they are one; None: all are.
    """
    matches: list[Match] = []
    remembered = _Remembered(grams_of)
    for groups in _batches(_groups(bands, np.asarray(order, dtype=np.int64))):
        remembered.fetch([row for group in groups for row in group])
        for group in groups:
            settle = _settle_small if len(group) <= _SMALL_GROUP else _settle_large
            matches += settle(group, _Alike(remembered, params.jaccard, judge))
    return matches


class _Remembered:
    """N-grams of the rows asked for last.

    Args:
        grams_of: n-grams of some rows; many at once cost a fraction of one by one.
    """

    def __init__(self, grams_of: GramsOfMany) -> None:
        self._grams_of = grams_of
        self._held: OrderedDict[int, Shortened] = OrderedDict()

    def __call__(self, row: int) -> Shortened:
        if row not in self._held:
            self.fetch([row])
        return self._held[row]

    def fetch(self, rows: list[int]) -> None:
        """Hold the n-grams of these rows, as far as there is room."""
        missing = [row for row in rows[:_FETCHED_ROWS] if row not in self._held]
        for row, grams in zip(missing, self._grams_of(missing) if missing else (), strict=True):
            # Half of each hash is enough to tell the n-grams of two rows apart; the order stays.
            self._held[row] = (grams >> _HASH_SHIFT).astype(np.uint32)
        while len(self._held) > _REMEMBERED_ROWS:
            self._held.popitem(last=False)


def _batches(groups: Iterator[Rows]) -> Iterator[list[list[int]]]:
    """Yield groups, several small ones together."""
    batch: list[list[int]] = []
    rows = 0
    for group in groups:
        batch.append(group.tolist())
        rows += len(group)
        if rows >= _FETCHED_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _groups(bands: Grams, order: Rows) -> Iterator[Rows]:
    """Yield the rows linked by shared bands, each group in `order`, groups of one left out."""
    labels = np.arange(len(order))
    for first in range(0, bands.shape[1], _BANDS_AT_ONCE):
        held = np.ascontiguousarray(bands[:, first : first + _BANDS_AT_ONCE])[order]
        for keys in held.T:
            by_key = np.argsort(keys)
            same = np.flatnonzero(keys[by_key[1:]] == keys[by_key[:-1]])
            labels = _linked(labels, by_key[same], by_key[same + 1])
    by_label = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[by_label])) + 1
    starts, ends = np.append(0, cuts), np.append(cuts, len(order))
    for number in np.flatnonzero(ends - starts > 1).tolist():
        yield order[by_label[starts[number] : ends[number]]]


def _linked(labels: Rows, left: Rows, right: Rows) -> Rows:
    """Return labels that are equal where they were, and for every linked pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.stack([labels[left], labels[right]])
    ends = ends[:, ends[0] != ends[1]]
    if not ends.shape[1]:
        return labels
    # Only of labels that are linked: most rows are like no other, and the last bands link hardly any.
    linked, numbers = np.unique(ends, return_inverse=True)
    links = numbers.reshape(ends.shape)
    graph = coo_array((np.ones(ends.shape[1], dtype=np.int8), (links[0], links[1])), shape=(len(linked), len(linked)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    new = np.arange(len(labels))
    new[linked] = linked[first[component]]
    return np.asarray(new[labels], dtype=np.int64)


@dataclass(frozen=True)
class _Alike:
    """What makes two rows one.

    Args:
        grams_of: n-grams of a row.
        least: the Jaccard similarity from which two rows are alike.
        judge: tells of two rows that are alike whether they are one.
    """

    grams_of: GramsOf
    least: float
    judge: Judge | None

    def best(self, row: int, candidates: list[int]) -> tuple[int, float] | None:
        """Return the candidate most similar to a row of those that are one with it; of equals the first."""
        own = self.grams_of(row)
        found = [(self._similarity(own, self.grams_of(other)), other) for other in candidates]
        alike = sorted(((like, other) for like, other in found if like >= self.least), key=lambda one: -one[0])
        for similarity, other in alike[: _MOST_JUDGED if self.judge else 1]:
            if self.judge is None or self.judge(row, other):
                return other, similarity
        return None

    def _similarity(self, own: Shortened, theirs: Shortened) -> float:
        """Return the Jaccard similarity, 0 where the sizes alone rule out that it is enough."""
        if min(len(own), len(theirs)) < self.least * max(len(own), len(theirs)):
            return 0.0
        return jaccard(own, theirs)


def _settle_small(group: list[int], alike: _Alike) -> Iterator[Match]:
    """Yield the near-duplicates of a small group."""
    kept: list[int] = []
    for row in group:
        best = alike.best(row, kept)
        if best is None:
            kept.append(row)
        else:
            yield row, *best


def _settle_large(group: list[int], alike: _Alike) -> Iterator[Match]:
    """Yield the near-duplicates of a large group."""
    kept_with: dict[int, list[int]] = defaultdict(list)
    for row, rare in zip(group, _shared_rare_grams(group, alike.grams_of, alike.least), strict=True):
        shared = Counter(other for gram in rare for other in kept_with.get(gram, ()))
        best = alike.best(row, [other for other, _ in shared.most_common(_MOST_CANDIDATES)])
        if best is not None:
            yield row, *best
            continue
        for gram in rare:
            kept_with[gram].append(row)


def _shared_rare_grams(group: list[int], grams_of: GramsOf, least: float) -> Iterator[list[int]]:
    """Yield for each row its rarest n-grams, numbered, without those no other row has among its own."""
    rarity = _Rarity([grams_of(row) for row in group[:: max(len(group) // _SAMPLE_ROWS, 1)]])
    rarest = [rarity.rarest(grams_of(row), least) for row in group]
    _, numbers, counts = np.unique(np.concatenate(rarest), return_inverse=True, return_counts=True)
    start = 0
    for one in rarest:
        own = numbers[start : start + len(one)]
        start += len(one)
        yield own[counts[own] > 1].tolist()


class _Rarity:
    """How rare n-grams are within a group.

    Args:
        sample: n-grams of some of its rows.
    """

    def __init__(self, sample: list[Shortened]) -> None:
        known, counts = np.unique(np.concatenate(sample), return_counts=True)
        # One more at the end, so that every place looked up is one.
        self._known = np.append(known.astype(np.uint64), np.uint64(1 << 63))
        self._counts = np.append(counts, 0).astype(np.uint64)

    def rarest(self, found: Shortened, least: float) -> Grams:
        """Return the rarest n-grams of a row: so many that rows of Jaccard >= `least` share one of them."""
        if not len(found):
            return found.astype(np.uint64)
        count = len(found) - math.ceil(least * len(found) - 1e-9) + 1
        places = np.searchsorted(self._known, found)
        seen = np.where(self._known[places] == found, self._counts[places], np.uint64(0))
        ranked = (seen << _COUNT_SHIFT) | found
        rarest: Grams = np.partition(ranked, count - 1)[:count]
        return rarest
