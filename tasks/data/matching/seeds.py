"""Which evaluation texts might stand in which turns: hashed n-grams, a bitmap in front, all turns of a chunk at once.

It only proposes; `leak_rules.py` decides. Chinese characters say more than Latin letters, so the n-grams of Latin
text are longer: a gram's own first characters tell which it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.folding import Points, is_han
from tasks.data.matching.ngrams import Grams, Places, hashes_at, joined, mixed, rolling_hashes, unmixed

#: Length of a Chinese gram, of a Latin one, and the Chinese characters that make it Chinese, from coarse to fine.
LEVELS = ((4, 10, 2), (3, 6, 2), (2, 4, 1))
#: A seed of more texts than this says too little, unless a text has no other.
MOST_TEXTS = (60, 40, 40)
FEWEST_SEEDS = 3
#: Places of the bitmap for each seed: one in eight strangers passes.
BITMAP_ROOM = 8
#: Where windows start at fewer than one in so many places, they are hashed one by one.
FEW = 4
GROUP_CHARACTERS = 1 << 16
#: 2^64 over the golden ratio: a product's high bits depend on all bits (Knuth, TAOCP 3, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Unit:
    """A text to be looked for, at one level.

    Args:
        owner: what the caller calls it.
        text: normalized, without spaces.
        level: index in `LEVELS`.
        share: of its seeds, for it to be proposed.
    """

    owner: int
    text: str
    level: int
    share: float


@dataclass(frozen=True)
class Seeds:
    """The seeds of many texts, in order; each array of shape (seeds,).

    Args:
        hashes: one a seed.
        texts: the text each stands in, ascending.
        starts: where in the joined texts; for one text, where in it.
        lengths: characters of each.
    """

    hashes: Grams
    texts: Places
    starts: Places
    lengths: Places


def seeds(texts: Sequence[str], level: int) -> Seeds:
    """Return the seeds of all texts at a level."""
    windows = _windows(texts, level)
    found = []
    for length, starts in windows.starts:
        hashes = mixed(windows.hashes(length, starts))
        found.append(Seeds(hashes, windows.owners[starts], starts, np.full(len(starts), length)))
    return _merged(found)


@dataclass(frozen=True)
class _Windows:
    """Where the seeds of many texts begin.

    Args:
        level: index in `LEVELS`.
        points: code points of all texts, each ended by a mark, with as many more as a window may run over.
        owners: the text each of them stands in, those behind the last left out.
        starts: (length, places) of Chinese and of Latin windows.
    """

    level: int
    points: Points
    owners: Places
    starts: list[tuple[int, Places]]

    def hashes(self, length: int, starts: Places) -> Grams:
        """Return the hashes of the windows of this length that begin at `starts`, not yet mixed."""
        few = len(starts) * FEW < len(self.owners)
        found = hashes_at(self.points, starts, length) if few else rolling_hashes(self.points, length)[starts]
        found += np.uint64(self.level << 8 | length)
        return found


def _windows(texts: Sequence[str], level: int) -> _Windows:
    """Return where the seeds of all texts begin."""
    chinese, latin, needed = LEVELS[level]
    points, owners = joined(texts)
    count = len(points)
    padded = np.append(points, np.zeros(latin, dtype=points.dtype))
    rows = np.append(owners, np.full(latin, -1))
    han = is_han(padded).view(np.uint8)
    is_chinese = sum(han[place : count + place] for place in range(chinese)) >= needed
    starts = []
    for length, here in ((chinese, is_chinese), (latin, ~is_chinese)):
        # The mark belongs to the text it ends, so a window must end before it.
        places = np.flatnonzero(here & (rows[length : count + length] == owners))
        if len(places):
            starts.append((length, places))
    return _Windows(level, padded, owners, starts)


def _merged(found: Sequence[Seeds]) -> Seeds:
    """Return Chinese and Latin seeds as one, in order of their starts."""
    if len(found) == 1:
        return found[0]
    fields = [[getattr(one, name) for one in found] for name in ("hashes", "texts", "starts", "lengths")]
    none = np.empty(0, dtype=np.int64)
    hashes, texts, starts, lengths = (np.concatenate(field) if field else none for field in fields)
    order = np.argsort(starts, kind="stable")
    return Seeds(hashes[order].astype(np.uint64), texts[order], starts[order], lengths[order])


def distinct(hashes: Grams, numbers: Places) -> tuple[Grams, Places]:
    """Return each pair once, by number, then hash."""
    order = np.lexsort((hashes, numbers))
    hashes, numbers = hashes[order], numbers[order]
    new = np.append(True, (hashes[1:] != hashes[:-1]) | (numbers[1:] != numbers[:-1]))[: len(hashes)]
    return hashes[new], numbers[new]


class SeedIndex:
    """Seeds of all units, and which units each belongs to.

    Args:
        units: the texts to look for.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self._owners = np.array([unit.owner for unit in units], dtype=np.int64)
        found, numbers = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
        for level in range(len(LEVELS)):
            of_level = np.array([number for number, unit in enumerate(units) if unit.level == level], dtype=np.int64)
            of_units = seeds([units[number].text for number in of_level], level)
            hashes, places = _telling(of_units.hashes, of_level[of_units.texts], MOST_TEXTS[level])
            found.append(hashes)
            numbers.append(places)
        self._store(np.concatenate(found), np.concatenate(numbers))
        sizes = np.bincount(self._units, minlength=len(units))
        shares = np.array([unit.share for unit in units])
        self._enough = np.maximum(np.ceil(shares * sizes - 1e-9), 1).astype(np.int64)

    def _store(self, hashes: Grams, numbers: Places) -> None:
        """Lay the postings out by seed."""
        order = np.argsort(hashes, kind="stable")
        self._units = numbers[order].astype(np.int32)
        self._keys, starts = np.unique(hashes[order], return_index=True)
        self._starts = np.append(starts, len(order))
        bits = max(int(len(self._keys) * BITMAP_ROOM).bit_length(), 10)
        self._shift = np.uint64(64 - bits)
        slots = self._keys >> self._shift
        self._bitmap = np.zeros(1 << bits, dtype=bool)
        self._bitmap[self._slots(unmixed(self._keys))] = True
        # Keys are sorted, so those of one slot follow each other, and a run is short.
        self._first = np.zeros(1 << bits, dtype=np.int32)
        self._first[slots[::-1]] = np.arange(len(slots) - 1, -1, -1)
        self._longest_run = int(np.bincount(np.unique(slots, return_inverse=True)[1]).max(initial=0))

    def propose(self, texts: Sequence[str], level: int) -> list[tuple[int, int]]:
        """Return (text, owner), sorted, where enough of an owner's unit at this level stands in a text."""
        if not len(self._keys):
            return []
        found: list[tuple[int, int]] = []
        # Texts without Chinese by themselves: what is looked for in each kind is the other's waste.
        for ascii_ in (True, False):
            places = [place for place, text in enumerate(texts) if text.isascii() is ascii_]
            for first, group in _in_groups([texts[place] for place in places]):
                found += [(places[first + text], owner) for text, owner in self._propose(group, level)]
        return sorted(found)

    def _propose(self, texts: Sequence[str], level: int) -> set[tuple[int, int]]:
        """Return the proposals for some texts."""
        rows, places = self._known(_windows(texts, level))
        # Every seed counts once a text.
        rows, places = np.divmod(np.unique(rows * len(self._keys) + places), len(self._keys))
        counts = self._starts[places + 1] - self._starts[places]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        units = self._units[np.repeat(self._starts[places], counts) + offsets]
        pairs, seen = np.unique(np.repeat(rows, counts) * len(self._owners) + units, return_counts=True)
        rows, units = np.divmod(pairs, len(self._owners))
        enough = seen >= self._enough[units]
        return set(zip(rows[enough].tolist(), self._owners[units[enough]].tolist(), strict=True))

    def _known(self, windows: _Windows) -> tuple[Places, Places]:
        """Return for each seed of the index among those of some texts its text and its place among the keys."""
        rows, places = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for length, starts in windows.starts:
            plain = windows.hashes(length, starts)
            likely = np.flatnonzero(self._bitmap[self._slots(plain)])
            known, found = self._looked_up(mixed(plain[likely]))
            rows.append(windows.owners[starts[likely[known]]])
            places.append(found)
        return np.concatenate(rows), np.concatenate(places)

    def _slots(self, plain: Grams) -> Grams:
        """Return the place in the bitmap of hashes that are not mixed: mixing costs more than all else here."""
        return (plain * _SPREAD) >> self._shift

    def _looked_up(self, hashes: Grams) -> tuple[Places, Places]:
        """Return which of some hashes are keys, and the places of those among the keys."""
        places = self._first[hashes >> self._shift].astype(np.int64)
        known = self._keys[places] == hashes
        for _ in range(1, self._longest_run):
            others = np.flatnonzero(~known)
            further = np.minimum(places[others] + 1, len(self._keys) - 1)
            places[others] = further
            known[others] = self._keys[further] == hashes[others]
        return np.flatnonzero(known), places[known]


def _in_groups(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield (number of the first, texts): few enough at once to stay in the processor's cache."""
    first, characters = 0, 0
    for number, text in enumerate(texts):
        characters += len(text)
        if characters > GROUP_CHARACTERS:
            yield first, texts[first : number + 1]
            first, characters = number + 1, 0
    if first < len(texts):
        yield first, texts[first:]


def _telling(hashes: Grams, numbers: Places, most: int) -> tuple[Grams, Places]:
    """Return the distinct seeds of each unit without those of too many; the rarest stay where few are left."""
    hashes, numbers = distinct(hashes, numbers)
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    uses = counts[inverse]
    by_rarity = np.lexsort((uses, numbers))
    ordered = numbers[by_rarity]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[by_rarity] = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.append(starts, len(ordered))))
    kept = (uses <= most) | (rank < FEWEST_SEEDS)
    return hashes[kept], numbers[kept]
