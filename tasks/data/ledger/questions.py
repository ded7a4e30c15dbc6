"""What people ask the ledger: why a row is where it is, what became of all rows, what changed between two revisions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.data.ledger.ledger import REFUSED


def latest_run(prepared: Path, state: Path) -> Path:
    """Return the folder with the ledger of the last run: the output, or what was kept of a run that left nothing.

    Args:
        prepared: output of stage prepare.
        state: the project's local state.
    """
    refused, made = state / REFUSED, prepared / "summary.json"
    there = refused / "summary.json"
    if there.is_file() and (not made.is_file() or there.stat().st_mtime_ns >= made.stat().st_mtime_ns):
        return refused
    return prepared


def explain(prepared: Path, row_id: str) -> dict[str, Any]:
    """Return the ledger's entry of a row, the entries of the rows it names, and the row as it is trained on, if it is.

    Args:
        prepared: output of stage prepare.
        row_id: `r-` and 16 hexadecimal digits, or the place `source:index`.

    Returns:
        `entry`, `related` (entries by row id) and `row` (None for a row that is not kept; personal data is replaced).

    Raises:
        ConfigError: no row has this id.
    """
    entry = next((line for line in _lines(prepared / "ledger.jsonl", row_id) if _is(line, row_id)), None)
    if entry is None:
        raise ConfigError(
            f"{prepared / 'ledger.jsonl'} has no row {row_id}", "tunegate data summary; a place is written source:index"
        )
    split = entry["evidence"].get("split")
    kept_row = entry["evidence"].get("duplicate_of")
    return {
        "entry": entry,
        "related": {kept_row: _row(prepared / "ledger.jsonl", kept_row)} if kept_row else {},
        "row": _row(prepared / f"{split}.jsonl", entry["row_id"]) if split else None,
    }


def _row(path: Path, row_id: str) -> dict[str, Any] | None:
    """Return the line of a file that has this row id."""
    return next((line for line in _lines(path, row_id) if line["row_id"] == row_id), None)


def _is(entry: Mapping[str, Any], wanted: str) -> bool:
    """Tell whether an entry is the one asked for, by id or by place."""
    return wanted in (entry["row_id"], f"{entry['source']}:{entry['index']}")


def _lines(path: Path, wanted: str) -> Iterator[dict[str, Any]]:
    """Yield the lines that can hold what is wanted; only those are parsed."""
    if not path.is_file():
        raise DataContractError(f"{path} does not exist", "tunegate stage prepare")
    source = wanted.rpartition(":")[0] or wanted
    key = orjson.dumps(source)
    with path.open("rb") as stream:
        yield from (orjson.loads(line) for line in stream if key in line)


def read_summary(prepared: Path) -> dict[str, Any]:
    """Return summary.json of a prepared folder."""
    summary: dict[str, Any] = read_json(prepared / "summary.json")
    return summary


@dataclass
class LedgerDiff:
    """What changed from one ledger to another, by row id.

    Args:
        added: rows only in the second.
        removed: rows only in the first.
        changed: (before, after) of rows edited in place: removed and added between the same unchanged neighbours.
        moved: {row id: (fate before, fate after)} of rows with the same content and another fate or split.
        unchanged: rows with the same content and fate.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    moved: dict[str, tuple[str, str]] = field(default_factory=dict)
    unchanged: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the difference for machines."""
        return asdict(self)


def diff_ledgers(before: Path, after: Path) -> LedgerDiff:
    """Return what changed between the ledgers of two prepared folders."""
    old, new = _by_source(before), _by_source(after)
    result = LedgerDiff()
    for source in sorted({*old, *new}):
        _diff_source(old.get(source, {}), new.get(source, {}), result)
    return result


def _by_source(prepared: Path) -> dict[str, dict[str, str]]:
    """Return {source: {row id: fate}} in file order."""
    path = prepared / "ledger.jsonl"
    if not path.is_file():
        raise DataContractError(f"{path} does not exist", "tunegate stage prepare, or dvc pull")
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    with path.open("rb") as stream:
        for entry in map(orjson.loads, stream):
            rows[entry["source"]][entry["row_id"]] = entry["evidence"].get("split") or entry["reason"]
    return rows


def _diff_source(old: dict[str, str], new: dict[str, str], result: LedgerDiff) -> None:
    """Add the differences within one file; between two rows that stayed, what went and what came was edited."""
    common = [row for row in old if row in new]
    for row in common:
        if old[row] == new[row]:
            result.unchanged += 1
        else:
            result.moved[row] = old[row], new[row]
    gone, come = _gaps(old, set(common)), _gaps(new, set(common))
    for anchor in {**gone, **come}:
        left, right = gone.get(anchor, []), come.get(anchor, [])
        pairs = min(len(left), len(right))
        result.changed += zip(left[:pairs], right[:pairs], strict=True)
        result.removed += left[pairs:]
        result.added += right[pairs:]


def _gaps(rows: dict[str, str], common: set[str]) -> dict[str, list[str]]:
    """Return the rows that are not common, by the common row before them (empty: the start of the file)."""
    gaps: dict[str, list[str]] = defaultdict(list)
    anchor = ""
    for row in rows:
        if row in common:
            anchor = row
        else:
            gaps[anchor].append(row)
    return gaps
