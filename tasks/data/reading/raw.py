"""Raw instruction files to raw rows: every row is yielded, readable or not, with its place."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.settings import ReadParams
from tasks.data.problems import BadRowError
from tasks.data.reading.rows import Chunk, RawRow, Refused, canonical, rows_of

__all__ = ["INSTRUCTIONS", "Chunk", "RawRow", "Refused", "instruction_files", "read_chunks", "read_raw", "rows_of"]

INSTRUCTIONS = "instructions"
SUFFIXES = (".json", ".jsonl")
_BOM = b"\xef\xbb\xbf"


def instruction_files(raw: Path) -> list[Path]:
    """Return the instruction files under data/raw, sorted by name.

    Raises:
        DataContractError: there is none.
    """
    folder = raw / INSTRUCTIONS
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in SUFFIXES)
    if not found:
        raise DataContractError(
            f"{folder} holds no *.jsonl or *.json file", "put Alpaca, ShareGPT or multilingual-thinking rows there"
        )
    return found


def read_raw(raw: Path) -> Iterator[RawRow]:
    """Yield every row of every instruction file, in file and row order.

    Raises:
        DataContractError: there is no file, a file cannot be opened, or a JSON array is damaged (its rows cannot be
            counted, so no ledger could balance).
    """
    for path in instruction_files(raw):
        source = path.relative_to(raw).as_posix()
        for row in _read_array(path, source) if _is_array(path) else _read_lines(path, source):
            # The ledger of today hashes text; the chunked engine hashes bytes and does not call this.
            yield replace(row, content=row.content.decode("utf-8", "backslashreplace"))  # type: ignore[arg-type]


def _is_array(path: Path) -> bool:
    """Tell whether a file is one JSON array; anything else is read as JSON Lines, whatever its suffix."""
    try:
        with path.open("rb") as stream:
            return path.suffix == ".json" and stream.read(4096).removeprefix(_BOM).lstrip()[:1] == b"["
    except OSError as error:
        raise DataContractError(f"{path} cannot be read: {error.strerror}", f"mend or remove {path.name}") from error


def _read_lines(path: Path, source: str) -> Iterator[RawRow]:
    """Yield the rows of a JSON Lines file; blank lines, and a byte order mark that opens the file, are no rows."""
    index = 0
    with path.open("rb") as stream:
        for line, data in enumerate(stream, start=1):
            data = (data.removeprefix(_BOM) if line == 1 else data).strip()
            if data:
                # Files joined end to end carry marks further down: no part of the row, but a line of one is no blank.
                yield _read_line(data.removeprefix(_BOM), source, index, line)
                index += 1


def _read_line(data: bytes, source: str, index: int, line: int) -> RawRow:
    """Return one line as a row."""
    try:
        text = data.decode("utf-8")
        return _row(json.loads(text), source, index, line)
    except UnicodeDecodeError as error:
        problem = BadRowError("malformed_encoding", f"byte {error.start + 1} is not UTF-8")
    except (ValueError, RecursionError) as error:
        # The parser's own words name the position; they never quote the row.
        where = (
            f"{error.msg}, character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else "cannot be read"
        )
        problem = BadRowError("malformed_json", where)
    return RawRow(source, index, line, data, None, problem)


def _read_array(path: Path, source: str) -> Iterator[RawRow]:
    """Yield the items of a JSON array."""
    try:
        items = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataContractError(
            f"{path} is no valid JSON array: {error}", "mend the file, or store one row a line (JSON Lines)"
        ) from error
    for index, value in enumerate(items):
        yield _row(value, source, index, index + 1)


def _row(value: Any, source: str, index: int, line: int) -> RawRow:
    """Return a readable row."""
    return RawRow(source, index, line, canonical(value), value)


def read_chunks(raw: Path, params: ReadParams, chunk_bytes: int = 4 << 20) -> Iterator[Chunk]:
    """Yield every instruction file in chunks, in file and row order."""
    for path in instruction_files(raw):
        source = path.relative_to(raw).as_posix()
        if _is_array(path):
            yield Chunk(source, 1, "values", json.loads(path.read_bytes().decode("utf-8-sig")))
            continue
        line = 1
        with path.open("rb") as stream:
            while lines := stream.readlines(chunk_bytes):
                yield Chunk(source, line, "lines", b"".join(lines))
                line += len(lines)
