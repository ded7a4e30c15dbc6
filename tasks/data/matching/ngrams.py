"""Hashed n-grams of normalized texts, of one or of a whole chunk at once: of characters and of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tasks.core.folding import Points, is_han

Grams = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_WORD_BASE = np.uint64(0xD1B54A32D192ED03)
#: Words longer than this are hashed as if their characters started anew: no harm, such words are no words.
_LONGEST_WORD = 256
_TURN_END, _ROW_END, _SPACE = 0x0A, 0x1F, 0x20


@dataclass(frozen=True)
class ChunkGrams:
    """The n-grams of many rows, in order.

    Args:
        hashes: one a gram; shape (grams,).
        rows: the row each stands in, ascending; shape (grams,).
    """

    hashes: Grams
    rows: Places


def character_grams(texts: Sequence[str], length: int) -> ChunkGrams:
    """Return the character n-grams of each text; a text shorter than `length` has none."""
    points, rows = joined(texts)
    hashes, starts = _windows(points.astype(np.uint64), length)
    inside = rows[starts] == rows[starts + length - 1] if length > 1 else points[starts] != _ROW_END
    inside &= points[starts + length - 1] != _ROW_END
    return ChunkGrams(hashes[inside], rows[starts[inside]])


def word_grams(texts: Sequence[str], length: int) -> ChunkGrams:
    """Return the word n-grams of each text; a Chinese character is a word."""
    points, rows = joined(texts)
    apart = (points == _SPACE) | (points == _TURN_END) | (points == _ROW_END)
    alone = is_han(points)
    # A word starts after a gap, and at and after a Chinese character.
    starts = ~apart
    starts[1:] &= apart[:-1] | alone[1:] | alone[:-1]
    first = np.flatnonzero(starts)
    if not len(first):
        return ChunkGrams(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))
    place = np.arange(len(points)) - first[np.maximum(np.cumsum(starts) - 1, 0)]
    # Places before the first word are negative; they are gaps and weigh nothing.
    # A power of two, so that the remainder is its low bits: dividing takes ten times as long.
    weights = _powers(_LONGEST_WORD)[place & (_LONGEST_WORD - 1)] * np.where(apart, 0, points).astype(np.uint64)
    words = mixed(np.add.reduceat(weights, first))
    hashes, windows = _windows(words, length)
    inside = rows[first[windows]] == rows[first[windows + length - 1]]
    return ChunkGrams(hashes[inside], rows[first[windows[inside]]])


def gram_sequence(text: str, length: int) -> Grams:
    """Return the hash of every character n-gram of `text`, in order; shape (characters - length + 1,).

    Text shorter than `length` is one gram; empty text has none.
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    if not len(points):
        return np.empty(0, dtype=np.uint64)
    return _windows(points, min(length, len(points)))[0]


def grams(text: str, length: int) -> Grams:
    """Return the distinct character n-gram hashes of `text`, sorted."""
    return cast(Grams, np.unique(gram_sequence(text, length)))


def jaccard(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Return |A and B| / |A or B| of two sorted sets of n-grams."""
    if not len(left) or not len(right):
        return 0.0
    places = np.minimum(np.searchsorted(left, right), len(left) - 1)
    shared = int(np.count_nonzero(left[places] == right))
    return shared / (len(left) + len(right) - shared)


def mixed(hashes: Grams) -> Grams:
    """Spread the bits (splitmix64's finalizer, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(Grams, hashes ^ (hashes >> np.uint64(31)))


def unmixed(hashes: Grams) -> Grams:
    """Return what `mixed` was given."""
    hashes = (hashes ^ (hashes >> np.uint64(31)) ^ (hashes >> np.uint64(62))) * np.uint64(0x319642B2D24D8EC3)
    hashes = (hashes ^ (hashes >> np.uint64(27)) ^ (hashes >> np.uint64(54))) * np.uint64(0x96DE1B173F119089)
    return cast(Grams, hashes ^ (hashes >> np.uint64(30)) ^ (hashes >> np.uint64(60)))


def rolling_hashes(values: npt.NDArray[Any], length: int) -> Grams:
    """Return a polynomial hash of every `length` consecutive values, not yet mixed.

    Hashes of two halves make the hash of the whole, so a long window costs few passes.
    """
    count = max(len(values) - length + 1, 0)
    if length == 1:
        return values.astype(np.uint64)
    half = length // 2
    left = rolling_hashes(values, half)
    right = left if half == length - half else rolling_hashes(values, length - half)
    factor = np.uint64(pow(int(_BASE), length - half, 1 << 64))
    return cast(Grams, left[:count] * factor + right[half : half + count])


def hashes_at(values: npt.NDArray[Any], starts: Places, length: int) -> Grams:
    """Return the rolling hashes of the windows at `starts` only; worth it where they are few."""
    hashes = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(length):
        hashes *= _BASE
        hashes += values[starts + offset].astype(np.uint64)
    return hashes


def _windows(values: Grams, length: int) -> tuple[Grams, Places]:
    """Return a hash of every `length` consecutive values, and where each starts."""
    hashes = mixed(rolling_hashes(values, length))
    return hashes, np.arange(len(hashes))


def joined(texts: Sequence[str]) -> tuple[Points, Places]:
    """Return the code points of all texts, each ended by a mark of its own, and the text each stands in."""
    joined = "".join(f"{text}\x1f" for text in texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, dtype="<u4"), np.repeat(
        np.arange(len(texts)), np.array([len(text) + 1 for text in texts], dtype=np.int64)
    )


def _powers(count: int) -> Grams:
    """Return the first powers of the words' base, modulo 2^64."""
    return cast(Grams, np.cumprod(np.full(count, _WORD_BASE, dtype=np.uint64), dtype=np.uint64))
