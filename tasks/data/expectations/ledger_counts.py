"""The ledger counted: what became of the raw rows by file, format and reason, and which rows it calls kept."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataContractError
from tasks.data.expectations.columns import Lines, digest, read_lines
from tasks.data.pool import ordered
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS

if TYPE_CHECKING:
    import pandas as pd

DAMAGED_FILE: Final = "damaged_file"
NOT_UNDERSTOOD: Final = "(not understood)"


class Fate(NamedTuple):
    """What entries of the ledger are counted by."""

    source: str
    format: str
    fate: str
    reason: str


@dataclass
class LedgerCounts:
    """The whole ledger in numbers.

    Args:
        fates: entries by file, format, fate and reason.
        kept: digests of the ids called kept.
        formats: names behind `kept_format`.
        kept_format: number of each kept row's format, in the order of `kept`.
    """

    fates: Counter[Fate] = field(default_factory=Counter)
    kept: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    formats: list[str] = field(default_factory=list)
    kept_format: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def rows(self, **wanted: str) -> int:
        """Return how many entries have these values (`fate="dropped", reason="too_long"`)."""
        return sum(
            count
            for key, count in self.fates.items()
            if all(getattr(key, name) == value for name, value in wanted.items())
        )

    def format_of(self, rows: npt.NDArray[np.uint64]) -> list[str | None]:
        """Return the format of each of these rows; None for one that the ledger does not call kept."""
        if not len(self.kept):
            return [None] * len(rows)
        order = np.argsort(self.kept)
        known = self.kept[order]
        places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        numbers = np.where(known[places] == rows, self.kept_format[order][places], -1)
        names: list[str | None] = [*self.formats, None]
        return [names[number] for number in numbers.tolist()]


class CountedLines(NamedTuple):
    """What a worker makes of some lines of the ledger."""

    fates: Counter[Fate]
    kept: npt.NDArray[np.uint64]
    formats: list[str]


def _counter() -> Callable[[Lines], CountedLines]:
    """Return the work of a process."""
    return _count_lines


def _count_lines(lines: Lines) -> CountedLines:
    """Count some lines of the ledger.

    Raises:
        DataContractError: a line is no entry.
    """
    fates: Counter[Fate] = Counter()
    kept, formats = [], []
    for number, entry in lines.values():
        try:
            key = Fate(entry["source"], entry["format"] or NOT_UNDERSTOOD, entry["fate"], entry["reason"])
            row_id = entry["row_id"]
        except (KeyError, TypeError) as error:
            raise DataContractError(
                f"{lines.path}:{number} is no entry of a ledger", "tunegate stage prepare writes it anew"
            ) from error
        fates[key] += 1
        if key.fate == "kept":
            kept.append(digest(row_id))
            formats.append(key.format)
    return CountedLines(fates, np.array(kept, dtype=np.uint64), formats)


def count_ledger(path: Path, processes: int) -> LedgerCounts:
    """Count a ledger, a few megabytes at a time.

    Args:
        path: ledger.jsonl.
        processes: how many processes share the work.

    Raises:
        DataContractError: a line is damaged.
    """
    counts, numbers = LedgerCounts(), dict[str, int]()
    kept, formats = [counts.kept], [counts.kept_format]
    for found in ordered(_counter, (), read_lines(path), processes):
        counts.fates.update(found.fates)
        kept.append(found.kept)
        formats.append(np.array([numbers.setdefault(name, len(numbers)) for name in found.formats], dtype=np.int64))
    return LedgerCounts(counts.fates, np.concatenate(kept), list(numbers), np.concatenate(formats))


def surplus(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> int:
    """Return how many entries of `left` have no partner in `right`; an entry that stands twice needs two."""
    names, counts = np.unique(left, return_counts=True)
    others, other_counts = np.unique(right, return_counts=True)
    if not len(others):
        return len(left)
    places = np.minimum(np.searchsorted(others, names), len(others) - 1)
    partners = np.where(others[places] == names, other_counts[places], 0)
    return int(np.maximum(counts - partners, 0).sum())


def raw_files(counts: LedgerCounts) -> "pd.DataFrame":
    """Return one line a raw file: rows, how many were understood, whether the file was damaged."""
    import pandas as pd

    return pd.DataFrame(_grouped(counts, lambda key: key.source, "source"))


def raw_formats(counts: LedgerCounts) -> "pd.DataFrame":
    """Return one line a format: rows, how many can be used; rows of no known format are counted by file alone."""
    import pandas as pd

    lines = _grouped(counts, lambda key: key.format, "format")
    return pd.DataFrame([line for line in lines if line["format"] != NOT_UNDERSTOOD])


def _grouped(counts: LedgerCounts, name_of: Callable[[Fate], str], column: str) -> list[dict[str, Any]]:
    """Return the fates of the rows by something."""
    groups: dict[str, list[tuple[Fate, int]]] = defaultdict(list)
    for key, rows in sorted(counts.fates.items()):
        groups[name_of(key)].append((key, rows))
    return [{column: name, **_facts(group)} for name, group in sorted(groups.items())]


def _facts(group: list[tuple[Fate, int]]) -> dict[str, Any]:
    """Return the facts about some raw rows."""
    rows = sum(count for _, count in group)
    by_fate = {fate: sum(n for key, n in group if key.fate == fate) for fate in ("kept", "dropped", "quarantined")}
    reasons = Counter[str]()
    for key, count in group:
        if key.fate == "quarantined":
            reasons[key.reason] += count
    return {
        "rows": rows,
        **by_fate,
        "understood_fraction": 1 - by_fate["quarantined"] / rows,
        "damaged": reasons[DAMAGED_FILE],
        "why_quarantined": ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())) or None,
    }


def raw_reasons(counts: LedgerCounts) -> "pd.DataFrame":
    """Return one line a reason for which raw rows were left out, and whether that reason is a documented one."""
    import pandas as pd

    known = {"dropped": DROP_REASONS, "quarantined": QUARANTINE_REASONS}
    found = Counter[tuple[str, str]]()
    for key, rows in counts.fates.items():
        if key.fate != "kept":
            found[key.fate, key.reason] += rows
    lines = [
        {"reason": reason, "fate": fate, "rows": rows, "known": reason in known.get(fate, {})}
        for (fate, reason), rows in sorted(found.items())
    ]
    return pd.DataFrame(lines, columns=["reason", "fate", "rows", "known"])


def as_json(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the lines of a small frame as JSON takes them."""
    return [dict(_plain(line)) for line in frame.to_dict("records")]


def _plain(line: dict[Any, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the cells of a line: numbers rounded, nothing for what is missing."""
    for name, value in line.items():
        missing = value is None or value != value
        yield str(name), None if missing else round(value, 4) if isinstance(value, float) else value


def written_ids(paths: Iterable[Path]) -> Iterator[int]:
    """Yield the digest of every row id in small files of rows."""
    for path in paths:
        for lines in read_lines(path):
            for _, row in lines.values():
                yield digest(row["row_id"])
