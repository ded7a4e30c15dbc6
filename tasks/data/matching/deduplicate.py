"""Duplicates: exact after normalization, near by MinHash LSH and true Jaccard; one row of each cluster stays.

The row that stays is the one with the longest answer, then the lowest row id. Every dropped row is similar to the
very row kept in its place (no chains), and no two kept rows are similar: so near-duplicates cannot straddle a split.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.core.progress import Progress
from tasks.core.settings import NearDuplicateParams
from tasks.data.conversation import ChatRow, content_key
from tasks.data.matching.ngrams import MinHash, grams, jaccard, rows_per_band
from tasks.data.matching.normalization import normalize

log = logging.getLogger(__name__)

BEST_ROW_RULE = "longest answer, then lowest row id"


@dataclass(frozen=True)
class Duplicate:
    """A row that stands for less than the one kept in its place."""

    row: ChatRow
    reason: str
    jaccard: float


@dataclass
class Cluster:
    """A kept row and the rows it stands for."""

    kept: ChatRow
    duplicates: list[Duplicate] = field(default_factory=list)

    @property
    def cluster_id(self) -> str:
        """Stable name from the members."""
        members = sorted([self.kept.row_id, *(duplicate.row.row_id for duplicate in self.duplicates)])
        return f"c-{hashlib.sha256(' '.join(members).encode()).hexdigest()[:12]}"

    def as_json(self) -> dict[str, Any]:
        """Return the cluster as a line of clusters.jsonl."""
        duplicates = [
            {
                "row_id": duplicate.row.row_id,
                "source": duplicate.row.source,
                "index": duplicate.row.index,
                "reason": duplicate.reason,
                "jaccard": round(duplicate.jaccard, 4),
            }
            for duplicate in self.duplicates
        ]
        kept = {"row_id": self.kept.row_id, "source": self.kept.source, "index": self.kept.index}
        return {"cluster_id": self.cluster_id, "kept": kept, "duplicates": duplicates, "rule": BEST_ROW_RULE}


def deduplicate(rows: Iterable[ChatRow], params: NearDuplicateParams) -> list[Cluster]:
    """Return one cluster for every row that stays, in the order of `rows`; most are clusters of one."""
    rows = list(rows)
    order = {row.row_id: number for number, row in enumerate(rows)}
    exact = _exact_clusters(rows)
    near = NearDuplicates(params)
    clusters: list[Cluster] = []
    progress = Progress(log, "near-duplicates", len(exact), "rows")
    for cluster in sorted(exact, key=lambda cluster: _best_first(cluster.kept)):
        match = near.match_or_keep(cluster.kept, len(clusters))
        if match is None:
            clusters.append(cluster)
        else:
            into, similarity = match
            clusters[into].duplicates.append(Duplicate(cluster.kept, "near_duplicate", similarity))
            # Copies of a near-duplicate are near-duplicates of what is kept, too.
            clusters[into].duplicates += [
                Duplicate(copy.row, "near_duplicate", similarity) for copy in cluster.duplicates
            ]
        progress.advance()
    return sorted(clusters, key=lambda cluster: order[cluster.kept.row_id])


def _best_first(row: ChatRow) -> tuple[int, str]:
    """Return the sort key of the stated rule."""
    return -row.answer_characters, row.row_id


def _exact_clusters(rows: list[ChatRow]) -> list[Cluster]:
    """Return the rows grouped by normalized content, the best row of each group kept."""
    groups: dict[bytes, list[ChatRow]] = defaultdict(list)
    for row in rows:
        groups[hashlib.sha256(content_key(row.messages).encode()).digest()].append(row)
    clusters = []
    for group in groups.values():
        kept, *copies = sorted(group, key=_best_first)
        clusters.append(Cluster(kept, [Duplicate(copy, "exact_duplicate", 1.0) for copy in copies]))
    return clusters


class NearDuplicates:
    """The kept rows so far, by bands of their signatures.

    Args:
        params: n-gram length, signature length and the Jaccard similarity from which two rows are one.
    """

    def __init__(self, params: NearDuplicateParams) -> None:
        self._params = params
        self._minhash = MinHash(params.permutations)
        self._band = rows_per_band(params.permutations, params.jaccard)
        self._buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self._texts: dict[int, str] = {}

    def match_or_keep(self, row: ChatRow, number: int) -> tuple[int, float] | None:
        """Return (number, Jaccard) of the kept row most similar to `row`; without one, keep `row` as `number`."""
        text = "\n".join(normalize(turn) for turn in row.spoken)
        found = grams(text, self._params.ngram_characters)
        if not len(found) or not text.strip():
            return None
        keys = list(self._bands(self._minhash.signature(found).tobytes()))
        best: tuple[int, float] | None = None
        for candidate in sorted({other for key in keys for other in self._buckets.get(key, ())}):
            similarity = jaccard(found, grams(self._texts[candidate], self._params.ngram_characters))
            if similarity >= self._params.jaccard and (best is None or similarity > best[1]):
                best = candidate, similarity
        if best is None:
            self._texts[number] = text
            for key in keys:
                self._buckets[key].append(number)
        return best

    def _bands(self, signature: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the whole bands of a signature (4 bytes a place)."""
        width = 4 * self._band
        for band in range(len(signature) // width):
            yield band, signature[band * width : (band + 1) * width]
