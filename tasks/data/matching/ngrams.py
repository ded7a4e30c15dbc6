"""Hashed character n-grams and MinHash signatures of normalized text, vectorized over the characters."""

import hashlib
from typing import cast

import numpy as np
import numpy.typing as npt

Grams = npt.NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)


def gram_sequence(text: str, length: int) -> Grams:
    """Return the hash of every n-gram of `text`, in order; shape (characters - length + 1,).

    Text shorter than `length` is one gram; empty text has none.
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    length = min(length, len(points))
    if not length:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(len(points) - length + 1, dtype=np.uint64)
    for offset in range(length):
        hashes = hashes * _BASE + points[offset : len(points) - length + 1 + offset]
    return _mixed(hashes)


def grams(text: str, length: int) -> Grams:
    """Return the distinct n-gram hashes of `text`, sorted."""
    return cast(Grams, np.unique(gram_sequence(text, length)))


def jaccard(left: Grams, right: Grams) -> float:
    """Return |A and B| / |A or B| of two sorted sets of n-grams."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0


class MinHash:
    """Signatures whose share of equal places estimates the Jaccard similarity.

    Multiply-shift hashing; the multipliers come from SHA-256, so signatures are the same on every machine and with
    every numpy.

    Args:
        permutations: length of a signature.

    Source: Broder 1997; Dietzfelbinger et al. 1997 (multiply-shift).
    """

    def __init__(self, permutations: int) -> None:
        digests = [hashlib.sha256(f"tunegate minhash {number}".encode()).digest() for number in range(permutations)]
        self._factors = np.array([int.from_bytes(digest[:8], "little") | 1 for digest in digests], dtype=np.uint64)
        self._offsets = np.array([int.from_bytes(digest[8:16], "little") for digest in digests], dtype=np.uint64)

    def signature(self, found: Grams) -> npt.NDArray[np.uint32]:
        """Return the signature of a non-empty set of n-grams; shape (permutations,)."""
        hashed = self._factors[:, None] * found[None, :] + self._offsets[:, None]
        return cast(npt.NDArray[np.uint32], (hashed.min(axis=1) >> np.uint64(32)).astype(np.uint32))


def rows_per_band(permutations: int, threshold: float, recall: float = 0.995) -> int:
    """Return the longest band with which a pair at `threshold` shares a band with probability >= `recall`.

    Longer bands make fewer false candidates. Source: Leskovec et al., Mining of Massive Datasets, 3.4.2.
    """
    for rows in range(permutations, 1, -1):
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= recall:
            return rows
    return 1


def _mixed(hashes: Grams) -> Grams:
    """Spread the bits (splitmix64's finalizer, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(Grams, hashes ^ (hashes >> np.uint64(31)))
