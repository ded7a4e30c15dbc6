"""What was masked: how much of it in answers, and which strings most often, without a string itself.

A hash that anybody can compute gives a telephone number away, there are only so many. So hashes are keyed, by all the
masked strings of the dataset together: the same string has one hash in a summary, equal data give equal summaries, and
who does not have the raw data can compute none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from tasks.chat.conversation import Message
from tasks.data.privacy.pseudonyms import canonical

#: So many strings are shown; fewer different ones than the second would be no secret key.
SHOWN, LEAST_DIFFERENT = 20, 8
_DIGEST_BYTES, _SHOWN_BYTES = 8, 5
#: The role of a row's tools and of its rejected answer.
FURTHER = "further"


@dataclass(frozen=True, slots=True)
class Masked:
    """One masked string.

    Args:
        row: in its chunk, then in the dataset.
        type: of personal data.
        role: whose message it stood in.
        digest: of its canonical form; never leaves the process that holds all of them.
    """

    row: int
    type: str
    role: str
    digest: bytes


def masked_strings(row: int, messages: Sequence[Message], masks: Iterable[dict[str, Any]]) -> list[Masked]:
    """Return what was masked in a row.

    Args:
        row: its number.
        messages: as they were before; tools and a rejected answer behind them are `further`.
        masks: `Cleaned.masks`.
    """
    found = []
    for mask in masks:
        whole = mask["message"] < len(messages)
        message = messages[mask["message"]] if whole else None
        value = message["content"][mask["start"] : mask["end"]] if message else ""
        digest = blake2b(f"{mask['type']}\0{canonical(mask['type'], value)}".encode("utf-8", "surrogatepass"))
        found.append(
            Masked(row, mask["type"], message["role"] if message else FURTHER, digest.digest()[:_DIGEST_BYTES])
        )
    return found


def masked_report(masked: Sequence[Masked]) -> dict[str, Any]:
    """Return what the summary says about the masks of kept rows.

    Returns:
        `in_answers`: spans by type in what is learnt; `commonest`: the strings masked most often, each with its
        type, its hash, its spans by role and its rows.
    """
    answers = Counter(one.type for one in masked if one.role == "assistant")
    # Tools and rejected answers are counted, their strings are not shown: they are no text of their own.
    shown = [one for one in masked if one.role != FURTHER]
    places: dict[tuple[str, bytes], list[Masked]] = defaultdict(list)
    for one in shown:
        places[one.type, one.digest].append(one)
    key = blake2b(b"".join(sorted(digest for _, digest in places))).digest()
    ordered = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    commonest = [_entry(type_, digest, ones, key) for (type_, digest), ones in ordered[:SHOWN] if len(ones) > 1]
    return {
        "in_answers": dict(sorted(answers.items())),
        "different": len(places),
        "commonest": commonest if len(places) >= LEAST_DIFFERENT else [],
    }


def _entry(type_: str, digest: bytes, ones: Sequence[Masked], key: bytes) -> dict[str, Any]:
    """Return one of the commonest strings."""
    return {
        "type": type_,
        "hash": blake2b(digest, key=key[:64], digest_size=_SHOWN_BYTES).hexdigest(),
        "spans": len(ones),
        "rows": len({one.row for one in ones}),
        "roles": dict(sorted(Counter(one.role for one in ones).items())),
    }
