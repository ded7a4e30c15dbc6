"""The fate of every raw row: kept, dropped or quarantined, why, by which rule, on what evidence."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.core.errors import DataContractError
from tasks.data.reading.raw import RawRow

Fate = Literal["kept", "dropped", "quarantined"]
FATES: tuple[Fate, ...] = ("kept", "dropped", "quarantined")
ID_CHARACTERS = 16


@dataclass(frozen=True)
class Entry:
    """One line of ledger.jsonl."""

    row_id: str
    source: str
    index: int
    fate: Fate
    reason: str
    rule: str
    evidence: dict[str, Any]


def row_id(source: str, content: str, occurrence: int) -> str:
    """Return the stable name of a raw row: the same content in the same file keeps it wherever rows are added.

    Args:
        source: file relative to data/raw.
        content: canonical text of the row.
        occurrence: 0 for the first row with this content in the file, 1 for its first copy.
    """
    origin = "\x1f".join((source, str(occurrence), content))
    return f"r-{hashlib.sha256(origin.encode('utf-8', 'backslashreplace')).hexdigest()[:ID_CHARACTERS]}"


class Ledger:
    """Rows that came in, and the one fate of each."""

    def __init__(self) -> None:
        self._rows: dict[str, RawRow] = {}
        self._entries: dict[str, Entry] = {}
        self._seen: Counter[tuple[str, str]] = Counter()

    def enter(self, raw: RawRow) -> str:
        """Take a raw row in and return its id.

        Raises:
            DataContractError: two rows got one id.
        """
        content = hashlib.sha256(raw.content.encode("utf-8", "backslashreplace")).hexdigest()
        name = row_id(raw.source, raw.content, self._seen[raw.source, content])
        self._seen[raw.source, content] += 1
        if name in self._rows:
            raise DataContractError(f"two raw rows have the id {name}", "report this: ids must be unique")
        # The text is not needed again; what stays is the place.
        self._rows[name] = RawRow(raw.source, raw.index, raw.line, "", None)
        return name

    def settle(self, name: str, fate: Fate, reason: str, rule: str, evidence: dict[str, Any]) -> None:
        """Write the fate of a row.

        Raises:
            DataContractError: the row never came in, or already has a fate.
        """
        if name not in self._rows or name in self._entries:
            known = "has a fate already" if name in self._entries else "never came in"
            raise DataContractError(f"ledger: row {name} {known}", "report this: a row was counted twice or invented")
        raw = self._rows[name]
        self._entries[name] = Entry(name, raw.source, raw.index, fate, reason, rule, evidence)

    def entries(self) -> list[Entry]:
        """Return the entries in the order the rows came in."""
        return [self._entries[name] for name in self._rows if name in self._entries]

    def require_balance(self, written: Iterable[str]) -> None:
        """Check that rows in = kept + dropped + quarantined, and that the kept rows are the written ones.

        Args:
            written: ids of the rows in the output files.

        Raises:
            DataContractError: a row has no fate, or kept and written rows differ.
        """
        lost = [name for name in self._rows if name not in self._entries]
        if lost:
            places = ", ".join(f"{self._rows[name].source}:{self._rows[name].line}" for name in lost[:3])
            raise DataContractError(
                f"ledger: {len(lost)} of {len(self._rows)} rows have no fate ({places})", "report this: rows vanished"
            )
        kept = Counter(entry.row_id for entry in self.entries() if entry.fate == "kept")
        differing = (kept - (found := Counter(written))) + (found - kept)
        if differing:
            some = ", ".join(sorted(differing)[:3])
            raise DataContractError(
                f"ledger: kept rows and written rows differ in {len(differing)} row(s): {some}",
                "report this: rows vanished or were written twice",
            )

    def counts(self) -> dict[str, int]:
        """Return rows in and rows by fate."""
        fates = Counter(entry.fate for entry in self._entries.values())
        return {"in": len(self._rows), **{fate: fates[fate] for fate in FATES}}

    def reasons(self) -> dict[str, dict[str, int]]:
        """Return {fate: {reason: rows}}."""
        found = Counter((entry.fate, entry.reason) for entry in self._entries.values())
        return {fate: {reason: n for (of, reason), n in sorted(found.items()) if of == fate} for fate in FATES}

    def as_json(self) -> list[dict[str, Any]]:
        """Return the lines of ledger.jsonl."""
        return [asdict(entry) for entry in self.entries()]
