"""What is asked, in counts: language, length, and how much of it the training rows have in common.

Counts and hashes alone, no text: they can lie beside the logs for as long as those do.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tasks.chat.conversation import LANGUAGES
from tasks.core.files import read_jsonl
from tasks.data.expectations.drift import Drift, drift_of
from tasks.data.profile import CHARACTER_EDGES, histogram
from tasks.data.reading.language import language_of

SCHEMA: Final = 1
OTHER: Final = "other"
#: Pairs of characters tell a topic in Chinese, and enough of one in English.
PAIR: Final = 2
#: Familiar is how many of a question's pairs the training questions have, in tenths; the last bin is all of them.
TENTHS: Final = tuple(f"{tenth}0%" for tenth in range(11))


def pairs_of(text: str) -> set[int]:
    """Return the pairs of neighbouring characters of a text, blanks left out, as 32-bit hashes."""
    joined = "".join(text.lower().split())
    return {
        zlib.crc32(joined[place : place + PAIR].encode("utf-8", "replace")) for place in range(len(joined) - PAIR + 1)
    }


def question_of(messages: Any) -> str | None:
    """Return the last thing a user says in a conversation, or a prompt that is one text."""
    if isinstance(messages, str):
        return messages or None
    if not isinstance(messages, list):
        return None
    said = [one.get("content") for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    last = said[-1] if said else None
    if isinstance(last, list):
        last = "\n".join(str(part.get("text", "")) for part in last if isinstance(part, dict))
    return last if isinstance(last, str) and last else None


def profile(questions: Iterable[str], known: set[int]) -> dict[str, Any]:
    """Return the counts of some questions.

    Args:
        questions: their texts.
        known: pairs of characters of the training questions.

    Returns:
        {"schema", "rows", "languages": {name: rows}, "lengths": {language: rows in each bin of CHARACTER_EDGES},
        "familiar": {tenth: rows}}.
    """
    languages: Counter[str] = Counter()
    familiar: Counter[str] = Counter()
    lengths: dict[str, list[int]] = {name: [] for name in LANGUAGES}
    for text in questions:
        language = language_of(text) or OTHER
        languages[language] += 1
        lengths.setdefault(language, []).append(len(text))
        pairs = pairs_of(text)
        familiar[TENTHS[int(10 * len(pairs & known) / len(pairs)) if pairs else 0]] += 1
    return {
        "schema": SCHEMA,
        "rows": sum(languages.values()),
        "languages": dict(languages),
        "lengths": {name: histogram(lengths[name], CHARACTER_EDGES) for name in LANGUAGES if lengths[name]},
        "familiar": dict(familiar),
    }


def training_questions(prepared: Path) -> tuple[dict[str, Any], set[int]]:
    """Return the profile of the validation rows' questions, and the pairs that the training rows' questions have.

    The training rows know themselves; what a new question of their kind looks like is what the validation rows show.
    """
    known: set[int] = set()
    for text in _asked(prepared / "train.jsonl"):
        known |= pairs_of(text)
    return profile(_asked(prepared / "validation.jsonl"), known), known


def _asked(path: Path) -> Iterator[str]:
    """Yield the questions of a file of rows."""
    for row in read_jsonl(path):
        if text := question_of(row["messages"]):
            yield text


def drifts(reference: dict[str, Any], current: dict[str, Any], max_index: float) -> list[Drift]:
    """Return how far what is asked has moved from what was trained on.

    Args:
        reference, current: profiles.
        max_index: limit of the population stability index; never below what chance gives at these sizes.
    """
    pairs = {"languages": (reference["languages"], current["languages"]),
             "familiar": (reference["familiar"], current["familiar"])}  # fmt: skip
    for name in LANGUAGES:
        if name in reference["lengths"] and name in current["lengths"]:
            pairs[f"length_{name}"] = (_bins(reference["lengths"][name]), _bins(current["lengths"][name]))
    return [drift_of(name, old, new, max_index) for name, (old, new) in pairs.items()]


def _bins(counts: list[int]) -> dict[str, int]:
    """Return a histogram of lengths by the first value of each bin."""
    return {str(edge): count for edge, count in zip(CHARACTER_EDGES, counts, strict=True)}
