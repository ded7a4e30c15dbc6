"""lexicon.json (`make_lexicon.py`) in memory: ordinary Chinese words, given and last names in Latin letters."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, Any]:
    """Return the file's content."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "lexicon.json").read_text(encoding="utf-8"))
    return content


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Return the ordinary words of two characters that end with a surname: 由张, but 开张 is a word."""
    return frozenset(first + surname for surname, firsts in _lexicon()["words"].items() for first in firsts)


@lru_cache(maxsize=1)
def latin_given_names() -> frozenset[str]:
    """Return frequent given names in Latin letters, in lower case, without those that are other words too."""
    return frozenset(_lexicon()["latin"].split())


@lru_cache(maxsize=1)
def wordlike_given_names() -> frozenset[str]:
    """Return given names in Latin letters, in lower case, that are other words too."""
    return frozenset(_lexicon()["wordlike"].split())


@lru_cache(maxsize=1)
def latin_last_names() -> frozenset[str]:
    """Return frequent last names in Latin letters, in lower case, without those that are other words too."""
    return frozenset(_lexicon()["last"].split())
