"""Items in two halves, by their ids and nothing else: one to choose on, one that the choice has not seen.

Within each suite the items are ordered by a hash of their id, and the first half is for selection. An item that two
suites score (an answer's likelihood and its key points) is in the same half of both where they hold the same items.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.gate.evidence import METRICS, Key, Report

#: A paired test needs two items.
LEAST_ITEMS = 2


@dataclass(frozen=True)
class Halves:
    """The keys of all items, in two disjoint sets."""

    selection: frozenset[Key]
    heldout: frozenset[Key]


def halve(keys: Iterable[Key], seed: int) -> Halves:
    """Return items in two halves, the odd one of each suite for selection.

    Args:
        keys: (suite, item id).
        seed: of the hash.
    """
    suites: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        suites[key[0]].append(key)
    selection: set[Key] = set()
    for members in suites.values():
        members.sort(key=lambda key: _place(key[1], seed))
        selection.update(members[: (len(members) + 1) // 2])
    return Halves(frozenset(selection), frozenset(key for group in suites.values() for key in group) - selection)


def of_half(report: Report, half: frozenset[Key]) -> Report:
    """Return a report with the items of one half alone."""
    return replace(report, samples={key: row for key, row in report.samples.items() if key in half})


def halves_of(report: Report, metric: str, seed: int) -> Halves:
    """Return the halves of a report's items.

    Raises:
        DataContractError: the metric has too few items in a half to compare anything.
    """
    halves, keys = halve(report.samples, seed), set(report.keys_of(METRICS[metric]))
    for name, half in (("selection", halves.selection), ("held-out", halves.heldout)):
        if len(keys & half) < LEAST_ITEMS:
            raise DataContractError(
                f"hop {report.hop} has {len(keys)} item(s) of {metric}: the {name} half has {len(keys & half)}, at "
                f"least {LEAST_ITEMS} are needed",
                "add items to the evaluation pack, or take another --metric",
            )
    return halves


def heldout_digest(report: Report, metric: str, seed: int) -> str:
    """Return the digest of a metric's held-out items: whoever looks at them again has the same one."""
    halves = halves_of(report, metric, seed)
    return sha256_json(sorted("/".join(key) for key in report.keys_of(METRICS[metric]) if key in halves.heldout))


def _place(item: str, seed: int) -> bytes:
    """Return what an item is ordered by."""
    return hashlib.sha256(f"{seed}\n{item}".encode()).digest()
