"""What the first pass knows about each raw row: flat columns for all rows, their texts in a spool on disk."""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from tasks.chat.conversation import LANGUAGES
from tasks.core.files import read_json
from tasks.core.settings import Format
from tasks.data.passes.masked import Masked
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS

#: Reason by number; 0 is a row that no rule about single rows refused.
REASONS: tuple[str, ...] = ("", *QUARANTINE_REASONS, *DROP_REASONS)
REASON_NUMBER = {reason: number for number, reason in enumerate(REASONS)}
#: Language by number; 0 is a row that was not understood.
LANGUAGE_NUMBERS: tuple[str, ...] = ("", *LANGUAGES)
FORMATS: tuple[str, ...] = get_args(Format)
OPEN_FILES = 64

Integers = npt.NDArray[np.int64]


@dataclass
class Columns:
    """One value a raw row, in the order of the rows; shape (rows,) where nothing else is said.

    Args:
        name: row id as a number, for a row without earlier copies in its file.
        line: line or item number in the file, from 1.
        reason: number in `REASONS`.
        format: number in the list of formats, 0 for none.
        language: number in `LANGUAGE_NUMBERS`.
        content: 128-bit digest of the normalized conversation as it is written; what its split follows from. (rows, 2)
        said: the same before anything was masked: who is another person is another row; shape (rows, 2).
        core: 64 bits of what is said, before anything was masked, without talk around it.
        characters: of all turns.
        answer_characters: of the assistant's turns.
        untaught: answers that are marked not to be learnt.
        tokens: of the rendered row where they were counted, -1 where it surely fits.
        concept: number in the list of concepts, 0 for none.
        leaks: evaluation items that stand in the row.
        end: where the row ends in its chunk's spool file.
    """

    name: npt.NDArray[np.uint64]
    line: Integers
    reason: npt.NDArray[np.uint8]
    format: npt.NDArray[np.uint8]
    language: npt.NDArray[np.uint8]
    content: npt.NDArray[np.uint64]
    said: npt.NDArray[np.uint64]
    core: npt.NDArray[np.uint64]
    characters: Integers
    answer_characters: Integers
    untaught: Integers
    tokens: Integers
    concept: Integers
    leaks: Integers
    end: Integers

    def __len__(self) -> int:
        return len(self.name)


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the columns of several chunks as one."""
    return Columns(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Columns)))


@dataclass
class ChunkFacts:
    """What the first pass hands over for one chunk.

    Args:
        number: of the chunk, from 0.
        source: file relative to data/raw.
        columns: one value a row.
        bands: band keys for near-duplicates; shape (rows, bands).
        masks: (row, type, spans) for every type replaced in a row.
        concepts: names behind `columns.concept`, the first one empty.
        effects: (row, what the base model's template does to it) where it does something.
        masked: every masked string of the rows, as a digest.
    """

    number: int
    source: str
    columns: Columns
    bands: npt.NDArray[np.uint64]
    masks: list[tuple[int, str, int]] = field(default_factory=list)
    concepts: list[str] = field(default_factory=lambda: [""])
    effects: list[tuple[int, str]] = field(default_factory=list)
    masked: list[Masked] = field(default_factory=list)


class Spool:
    """The rows and the evidence of the first pass on disk, one pair of files a chunk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[int, int] = OrderedDict()

    def write(self, number: int, rows: bytes, evidence: bytes) -> None:
        """Write what one chunk leaves."""
        self._path(number, "rows").write_bytes(rows)
        self._path(number, "json").write_bytes(evidence)

    def rows(self, number: int) -> bytes:
        """Return all rows of a chunk."""
        return self._path(number, "rows").read_bytes()

    def evidence(self, number: int) -> dict[str, dict[str, Any]]:
        """Return {kind: {row in the chunk: evidence}} of a chunk."""
        found: dict[str, dict[str, Any]] = read_json(self._path(number, "json"))
        return found

    def row(self, number: int, start: int, end: int) -> bytes:
        """Return one row of a chunk."""
        if number not in self._open:
            if len(self._open) >= OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[number] = os.open(self._path(number, "rows"), os.O_RDONLY)
        self._open.move_to_end(number)
        return os.pread(self._open[number], end - start, start)

    def close(self) -> None:
        """Close every file."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}.{suffix}"


class Gathered:
    """The facts of every row, chunk by chunk; band keys stay on disk.

    Args:
        folder: where band keys and spool are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.sources: list[str] = []
        self.masks: list[tuple[int, str, int]] = []
        self.effects: list[tuple[int, str]] = []
        self.masked: list[Masked] = []
        self.concepts: dict[str, int] = {"": 0}
        self._parts: list[Columns] = []
        self._starts: list[int] = [0]
        self._bands_path = folder / "bands.u64"
        self._bands_file = self._bands_path.open("wb")
        self._bands_a_row = 0

    def __enter__(self) -> "Gathered":
        return self

    def __exit__(self, *_: object) -> None:
        self._bands_file.close()
        self.spool.close()

    def add(self, facts: ChunkFacts) -> None:
        """Take the facts of the next chunk."""
        start = self._starts[-1]
        columns = facts.columns
        known = np.array([self.concepts.setdefault(name, len(self.concepts)) for name in facts.concepts])
        columns.concept = known[columns.concept]
        self._parts.append(columns)
        self._starts.append(start + len(columns))
        self.sources.append(facts.source)
        self.masks += [(start + row, type_, count) for row, type_, count in facts.masks]
        self.effects += [(start + row, effect) for row, effect in facts.effects]
        self.masked += [replace(one, row=start + one.row) for one in facts.masked]
        self._bands_a_row = facts.bands.shape[1]
        self._bands_file.write(np.ascontiguousarray(facts.bands).tobytes())

    def finish(self) -> None:
        """Join the columns once all chunks are in."""
        self._bands_file.close()
        self.starts = np.array(self._starts)
        self.columns = joined(self._parts)
        self._parts.clear()

    @property
    def rows(self) -> int:
        """Rows gathered so far."""
        return self._starts[-1]

    @property
    def bands(self) -> npt.NDArray[np.uint64]:
        """Band keys of all rows, read from disk; shape (rows, bands)."""
        return np.memmap(self._bands_path, dtype=np.uint64, mode="r", shape=(len(self.columns), self._bands_a_row))

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """Yield (number, first row, row after the last) of every chunk."""
        for number in range(len(self.sources)):
            yield number, int(self.starts[number]), int(self.starts[number + 1])

    def sources_of(self, rows: Integers) -> list[str]:
        """Return the file each row stands in."""
        return [self.sources[number] for number in self._chunks_of(rows).tolist()]

    def _chunks_of(self, rows: Integers) -> Integers:
        """Return the number of the chunk each row stands in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def row(self, row: int) -> bytes:
        """Return the JSON of one understood row."""
        number = bisect_right(self._starts, row) - 1
        first = int(self.starts[number])
        start = int(self.columns.end[row - 1]) if row > first else 0
        return self.spool.row(number, start, int(self.columns.end[row]))
