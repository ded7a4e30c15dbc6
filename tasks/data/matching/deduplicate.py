"""Duplicates: exact after normalization, near by MinHash bands, true Jaccard and wording; one row of a cluster stays.

Every row dropped for its likeness is one with the very row kept in its place (no chains), and no two kept rows are one
(`wording.py`). Rows of one template with other answers are alike and stay.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from tasks.core.settings import NearDuplicateParams
from tasks.data.matching.minhash import band_keys, rows_per_band, signatures
from tasks.data.matching.ngrams import ChunkGrams, Grams, character_grams, mixed, word_grams
from tasks.data.matching.normalization import NormalizedRow
from tasks.data.matching.similar import near_duplicates

__all__ = ["BEST_ROW_RULE", "Fingerprinter", "content_digests", "near_duplicates", "row_grams"]

BEST_ROW_RULE = "longest answer, then lowest row id"

_DIGEST_BYTES = 16
_BAND_STEP = np.uint64(0x9E3779B97F4A7C15)
_GROUP_CHARACTERS = 1 << 17
_TURN_END = "\n"


def content_digests(rows: Sequence[NormalizedRow]) -> Grams:
    """Return 128 bits for each row, equal where two conversations are one; shape (rows, 2).

    What a row's split follows from: another hash would move rows between train and validation.
    """
    contents = ("\x1f".join(row.texts).encode("utf-8", "surrogatepass") for row in rows)
    joined = b"".join(hashlib.sha256(content).digest()[:_DIGEST_BYTES] for content in contents)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(len(rows), 2)


def row_grams(rows: Sequence[NormalizedRow], languages: Sequence[str], params: NearDuplicateParams) -> list[Grams]:
    """Return the distinct n-grams rows are compared by, sorted, for each row: of characters, in English of words."""
    grams: list[Grams] = [np.empty(0, dtype=np.uint64)] * len(rows)
    for language in sorted(set(languages)):
        places = [place for place, spoken in enumerate(languages) if spoken == language]
        found = _chunk_grams([rows[place] for place in places], language, params)
        cuts = np.searchsorted(found.rows, np.arange(1, len(places)))
        for place, hashes in zip(places, np.split(found.hashes, cuts), strict=True):
            grams[place] = np.unique(hashes)
    return grams


class Fingerprinter:
    """Band keys of rows: two rows that share one may be near-duplicates, two that share none are not.

    Args:
        params: n-gram lengths, signature length and the Jaccard similarity from which two rows are one.

    Attributes:
        band_count: keys of a row.
    """

    def __init__(self, params: NearDuplicateParams) -> None:
        self._params = params
        self._width = rows_per_band(params.permutations, params.jaccard)
        self.band_count = params.permutations // self._width

    def bands(self, rows: Sequence[NormalizedRow], languages: Sequence[str], facts: Grams | None = None) -> Grams:
        """Return the band keys of each row; shape (rows, band_count).

        A row too short to have an n-gram gets keys from its whole content.

        Args:
            rows: the rows.
            languages: of each.
            facts: `wording.fact_keys`; rows that differ there share no band, so that none of them is compared. (rows,)
        """
        keys = np.empty((len(rows), self.band_count), dtype=np.uint64)
        short = np.ones(len(rows), dtype=np.bool_)
        for language in sorted(set(languages)):
            for places in _in_groups(rows, [place for place, one in enumerate(languages) if one == language]):
                found = _chunk_grams([rows[place] for place in places], language, self._params)
                long_enough = np.bincount(found.rows, minlength=len(places)) > 0
                of_group = band_keys(signatures(found, len(places), self._params.permutations), self._width)
                keys[np.array(places)[long_enough]] = of_group[long_enough]
                short[np.array(places)[long_enough]] = False
        digests = content_digests([rows[place] for place in np.flatnonzero(short).tolist()])[:, :1]
        keys[short] = mixed(digests + np.arange(self.band_count, dtype=np.uint64)[None, :] * _BAND_STEP)
        return keys if facts is None else mixed(keys + facts[:, None])


def _in_groups(rows: Sequence[NormalizedRow], places: list[int]) -> Iterator[list[int]]:
    """Yield places of rows that are hashed at once: few enough to stay in the processor's cache."""
    group: list[int] = []
    characters = 0
    for place in places:
        group.append(place)
        characters += sum(map(len, rows[place].turns))
        if characters > _GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _chunk_grams(rows: Sequence[NormalizedRow], language: str, params: NearDuplicateParams) -> ChunkGrams:
    """Return the n-grams of many rows in one language."""
    if language == "en":
        return word_grams([_TURN_END.join(row.turns) for row in rows], params.ngram_words)
    return character_grams([_TURN_END.join(row.texts) for row in rows], params.ngram_characters)
