"""lexicon.json in memory: ordinary Chinese words, how name-like characters are, given names in Latin letters."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

_SCARCE_POINTS, _GIVEN_POINTS, _ORDINARY_POINTS, _NEVER_POINTS = 2.5, 2.0, 1.0, -4.0


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, Any]:
    """Return the file's content."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "lexicon.json").read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Return the ordinary words of two and three characters that a name may be mistaken in."""
    pairs = (first + second for first, rest in _lexicon()["words"].items() for second in rest)
    return frozenset([*pairs, *_lexicon()["longer"].split()])


@lru_cache(maxsize=1)
def given_points() -> dict[str, float]:
    """Return what a character says for being in a given name; the fewer other words it is in, the more."""
    from tasks.data.privacy.surnames import GIVEN, NEVER

    content = _lexicon()
    return {
        **dict.fromkeys(NEVER, _NEVER_POINTS),
        **dict.fromkeys(GIVEN, _GIVEN_POINTS),
        **dict.fromkeys(content["scarce"], _SCARCE_POINTS),
        **dict.fromkeys(content["ordinary"], _ORDINARY_POINTS),
    }


@lru_cache(maxsize=1)
def latin_given_names() -> frozenset[str]:
    """Return frequent given names in Latin letters, in lower case, without those that are other words too."""
    return frozenset(_lexicon()["latin"].split())
