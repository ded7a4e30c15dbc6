"""Signatures whose share of equal places estimates the Jaccard similarity, and the bands they are looked up by.

Every gram is thrown into the places of the signature, round after round, until no place is empty; a place keeps the
least value that fell into it. Long rows fill theirs in two or three rounds where 128 permutations would cost 128, and
short rows get as many rounds as they need, so no place is ever borrowed from its neighbour.

Source: Dahlgaard, Knudsen, Thorup, Fast Similarity Sketching, FOCS 2017.
"""

import hashlib
from typing import cast

import numpy as np
import numpy.typing as npt

from tasks.data.matching.ngrams import ChunkGrams, Grams, mixed

Signatures = npt.NDArray[np.uint32]

_EMPTY = np.uint32(0xFFFFFFFF)
#: After these rounds only rows of a few grams have empty places; each place is then filled by a hash of its own.
_ROUNDS = 32
_LAST_ROUND = _ROUNDS
_VALUE_BITS = 24
#: Grams times places handled at once in the last round.
_AT_ONCE = 1 << 20


def signatures(found: ChunkGrams, rows: int, places: int) -> Signatures:
    """Return the signature of each row; shape (rows, places). Rows without grams have an empty one."""
    flat = np.full(rows * places, _EMPTY, dtype=np.uint32)
    hashes, owners, first_places = found.hashes, found.rows, found.rows * places
    for number in range(_ROUNDS):
        values = mixed(hashes + _salt("round", number))
        thrown = ((values >> np.uint64(32)) * np.uint64(places)) >> np.uint64(32)
        np.minimum.at(flat, first_places + thrown.view(np.int64), _ranked(number, values))
        empty = (flat.reshape(rows, places) == _EMPTY).any(axis=1)
        unfinished = empty[owners]
        if not unfinished.all():
            hashes, owners, first_places = hashes[unfinished], owners[unfinished], first_places[unfinished]
        if not len(hashes):
            break
    _fill(flat, hashes, owners, places)
    return flat.reshape(rows, places)


def band_keys(found: Signatures, width: int) -> Grams:
    """Return one key for every `width` places of each signature; shape (rows, places // width)."""
    rows, places = found.shape
    count = places // width
    bands = found[:, : count * width].reshape(rows, count, width).astype(np.uint64)
    keys = np.arange(count, dtype=np.uint64)[None, :].repeat(rows, axis=0)
    for place in range(width):
        keys = mixed(keys + bands[:, :, place])
    return keys


def rows_per_band(permutations: int, threshold: float, recall: float = 0.995) -> int:
    """Return the longest band with which a pair at `threshold` shares a band with probability >= `recall`.

    Longer bands make fewer false candidates. Source: Leskovec et al., Mining of Massive Datasets, 3.4.2.
    """
    for rows in range(permutations, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= recall:
            return rows
    return 1


def _fill(flat: Signatures, hashes: Grams, owners: npt.NDArray[np.int64], places: int) -> None:
    """Fill the empty places of rows with few grams."""
    own = np.array([_salt("place", place) for place in range(places)], dtype=np.uint64)
    step = max(_AT_ONCE // places, 1)
    for start in range(0, len(hashes), step):
        values = mixed(hashes[start : start + step, None] + own[None, :])
        targets = owners[start : start + step, None] * places + np.arange(places)[None, :]
        np.minimum.at(flat, targets.ravel(), _ranked(_LAST_ROUND, values).ravel())


def _ranked(number: int, values: Grams) -> Signatures:
    """Return values that are less the earlier their round is."""
    low = values & np.uint64((1 << _VALUE_BITS) - 1)
    return cast(Signatures, (low | np.uint64(number << _VALUE_BITS)).astype(np.uint32))


def _salt(use: str, number: int) -> np.uint64:
    """Return a constant of SHA-256: the same on every machine and with every numpy."""
    digest = hashlib.sha256(f"tunegate minhash {use} {number}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))
