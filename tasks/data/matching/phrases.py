"""How telling the characters of a question are: those in phrases many questions share are not."""

from collections.abc import Sequence

import numpy as np

from tasks.data.matching.ngrams import Grams, Places
from tasks.data.matching.seeds import distinct, seeds

#: Grams of the questions are counted at this level.
LEVEL = 0
#: A phrase of 2 to this power questions tells half as much as one of its own.
HALVED_BY = 2


class Phrases:
    """In how many questions each n-gram stands.

    Args:
        questions: normalized; one that several items share stands here as often.
    """

    def __init__(self, questions: Sequence[str]) -> None:
        found = seeds(questions, LEVEL)
        hashes, _ = distinct(found.hashes, found.texts)
        keys, counts = np.unique(hashes, return_counts=True)
        self._keys = keys[counts > 1]
        self._counts = counts[counts > 1]

    def telling(self, question: str) -> list[float]:
        """Return for each character how telling it is: 1 where no other question has its phrase, less the more have."""
        found = seeds([question], LEVEL)
        shares = 1 / (1 + np.log2(self._questions_with(found.hashes)) / HALVED_BY)
        total, count = np.zeros(len(question)), np.zeros(len(question))
        for start, length, share in zip(found.starts, found.lengths, shares, strict=True):
            total[start : start + length] += share
            count[start : start + length] += 1
        telling: list[float] = np.where(count > 0, total / np.maximum(count, 1), 1.0).tolist()
        return telling

    def _questions_with(self, hashes: Grams) -> Places:
        """Return the number of questions each n-gram stands in."""
        if not len(self._keys):
            return np.ones(len(hashes), dtype=np.int64)
        places = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        return np.where(self._keys[places] == hashes, self._counts[places], 1)
