"""Search by words: BM25 as bm25s computes it, in arrays without pickles, the same bytes for the same passages."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.files import read_json

Scores = npt.NDArray[np.float32]
#: Lucene's values (Robertson & Zaragoza 2009, The Probabilistic Relevance Framework).
K1, B = 1.2, 0.75
VOCABULARY = "vocab.index.json"


class Lexical:
    """A BM25 index.

    Args:
        bm25: of bm25s.
        vocabulary: word -> its number.
    """

    def __init__(self, bm25: Any, vocabulary: dict[str, int]) -> None:
        self._bm25, self._vocabulary = bm25, vocabulary
        self.passages = int(bm25.scores["num_docs"])

    @classmethod
    def of(cls, tokens: list[list[str]]) -> "Lexical":
        """Return the index of passages.

        Args:
            tokens: words of each passage.
        """
        import bm25s  # here, so that a look at the settings does not load it

        vocabulary = {word: number for number, word in enumerate(sorted({word for one in tokens for word in one}))}
        # bm25s would number words in the order of a set, another one in every process.
        numbers = [[vocabulary[word] for word in one] for one in tokens]
        bm25 = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
        bm25.index((numbers, vocabulary), show_progress=False)
        return cls(bm25, vocabulary)

    @classmethod
    def read(cls, folder: Path) -> "Lexical":
        """Return the index in a folder."""
        import bm25s

        return cls(bm25s.BM25.load(folder, load_vocab=False), read_json(folder / VOCABULARY))

    def write(self, folder: Path) -> None:
        """Write the index into a folder."""
        self._bm25.save(folder, show_progress=False)

    def scores(self, words: list[str]) -> Scores:
        """Return the score of every passage for a question's words; shape (passages,)."""
        known = [self._vocabulary[word] for word in words if word in self._vocabulary]
        if not known:
            return np.zeros(self.passages, dtype=np.float32)
        found: Scores = self._bm25.get_scores_from_ids(known)
        return found

    def shares(self, words: list[str]) -> Scores:
        """Return how much of a question's words each passage holds, by their weight, from 0 to 1; shape (passages,).

        A word that no passage has weighs as much as the rarest one: it is what the documents do not speak of.
        """
        held, whole = np.zeros(self.passages, dtype=np.float32), 0.0
        for word in dict.fromkeys(words):
            places = self._places(word)
            # BM25's own weight of a word in len(places) of all passages.
            weight = math.log(1 + (self.passages - len(places) + 0.5) / (len(places) + 0.5))
            held[places] += weight
            whole += weight
        return held / whole if whole else held

    def _places(self, word: str) -> npt.NDArray[np.integer[Any]]:
        """Return the passages that hold a word."""
        number = self._vocabulary.get(word)
        if number is None:
            return np.zeros(0, dtype=np.int32)
        scores = self._bm25.scores
        places: npt.NDArray[np.integer[Any]] = scores["indices"][
            scores["indptr"][number] : scores["indptr"][number + 1]
        ]
        return places
