"""The fate of every raw row: kept, dropped or quarantined, why, by which rule, on what evidence."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataContractError
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS

#: Under the local state: ledger and summary of a run that left nothing to train on.
REFUSED = "failed/prepare"

Fate = Literal["kept", "dropped", "quarantined"]
FATES: tuple[Fate, ...] = ("kept", "dropped", "quarantined")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of ledger.jsonl.

    Args:
        row_id: stable name from content and origin.
        source: file relative to data/raw.
        index: position of the row in its file, from 0.
        line: line or item number in the file, from 1.
        format: format it was understood as, None where it was not.
        fate: what became of it.
        reason: a key of `QUARANTINE_REASONS` or `DROP_REASONS`, or `clean`, `personal_data_replaced`.
        rule: the rule that decided, in words.
        evidence: what the rule found: the row it duplicates, the item it leaks, the spans that were replaced.
    """

    row_id: str
    source: str
    index: int
    line: int
    format: str | None
    fate: Fate
    reason: str
    rule: str
    evidence: dict[str, Any]


def row_number(source: str, content: bytes) -> int:
    """Return the stable number of a raw row: the same content in the same file keeps it wherever rows are added.

    Args:
        source: file relative to data/raw.
        content: canonical bytes of the row.
    """
    return int.from_bytes(hashlib.sha256(source.encode() + b"\x1f" + content).digest()[:8])


def copy_number(number: int, occurrence: int) -> int:
    """Return the number of a further copy of a row in its file; the first copy is occurrence 1."""
    return int.from_bytes(hashlib.sha256(f"{number:016x}\x1f{occurrence}".encode()).digest()[:8])


def row_name(number: int) -> str:
    """Return a row id as people see it."""
    return f"r-{number:016x}"


def fate_of(reason: str) -> Fate:
    """Return the fate a reason leads to; no reason is a kept row."""
    if reason in DROP_REASONS:
        return "dropped"
    return "quarantined" if reason in QUARANTINE_REASONS else "kept"


def require_balance(
    names: npt.NDArray[np.uint64], fates: dict[Fate, int], written: dict[str, int], rows_in: int
) -> None:
    """Check that rows in = kept + dropped + quarantined, that ids are unique and that kept rows are the written ones.

    Args:
        names: id numbers of all rows.
        fates: rows by fate, as counted while the ledger was written.
        written: rows by output file, as counted while it was written.
        rows_in: rows that were read.

    Raises:
        DataContractError: they differ.
    """
    hint = "report this: rows vanished or were counted twice"
    if sum(fates.values()) != rows_in:
        raise DataContractError(f"ledger: {rows_in} rows came in, {sum(fates.values())} have a fate", hint)
    if fates["kept"] != sum(written.values()):
        raise DataContractError(f"ledger: {fates['kept']} rows are kept, {sum(written.values())} were written", hint)
    if twins := len(names) - len(np.unique(names)):
        raise DataContractError(f"ledger: {twins} raw rows share the id of another", "report this: ids must be unique")
