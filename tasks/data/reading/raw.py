"""Raw instruction files to chunks of rows: every row comes through, readable or not, with its place."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import ReadParams
from tasks.data.problems import BadRowError
from tasks.data.reading.arrays import array_values
from tasks.data.reading.blocks import DamageError, blocks, byte_lines, encoding_of, text_blocks
from tasks.data.reading.encoding import sample_encoding
from tasks.data.reading.lines import line_chunks
from tasks.data.reading.rows import MIB, Chunk, RawRow, Refused, rows_of
from tasks.data.reading.tables import csv_values, parquet_values

__all__ = ["INSTRUCTIONS", "Chunk", "RawRow", "Refused", "instruction_files", "override_of", "read_chunks", "rows_of"]

log = logging.getLogger(__name__)

INSTRUCTIONS = "instructions"
SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
#: Files that stand beside data and hold none.
_NO_DATA = (".md", ".txt", ".dvc", ".yaml", ".gitignore", ".gitkeep", "")


def instruction_files(raw: Path) -> list[Path]:
    """Return the instruction files under data/raw, sorted by name; a directory with a data file's name is one of them.

    Raises:
        DataContractError: there is none.
    """
    folder = raw / INSTRUCTIONS
    there = sorted(folder.rglob("*"))
    found = [path for path in there if kind_of(path)]
    for path in there:
        if not kind_of(path) and path.is_file() and path.suffix not in _NO_DATA:
            log.warning("prepare: %s is none of %s: not read", path.relative_to(raw).as_posix(), ", ".join(SUFFIXES))
    if not found:
        raise DataContractError(
            f"{folder} holds no *.jsonl, *.json, *.csv or *.parquet file", "put instruction rows there (.gz is fine)"
        )
    return found


def kind_of(path: Path) -> str | None:
    """Return the suffix that says how a file is read, None where it is no data file."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return suffix if suffix in SUFFIXES else None


def override_of(source: str, params: ReadParams) -> str | None:
    """Return the format the settings give all rows of a file, None where the rows tell."""
    return params.files[source].format if source in params.files else None


def read_chunks(raw: Path, params: ReadParams, chunk_bytes: int = 4 * MIB) -> Iterator[Chunk]:
    """Yield every row of every instruction file in chunks, in file and row order.

    Args:
        raw: data/raw of the project.
        params: limits, overrides, and whether a damaged file stops the run or its rest is one refused row.
        chunk_bytes: about the size of a chunk; rows do not depend on it.

    Raises:
        DataContractError: there is no file, or one is damaged and `on_bad_file` is `stop`.
        ConfigError: the settings name a file that is not there.
    """
    files = {path.relative_to(raw).as_posix(): path for path in instruction_files(raw)}
    if unknown := sorted(set(params.files) - set(files)):
        raise ConfigError(
            f"prepare.read.files: {unknown[0]} is no file under {raw}", f"one of: {', '.join(list(files)[:5])}"
        )
    for source, path in files.items():
        try:
            yield from _file_chunks(path, source, params, chunk_bytes)
        except DamageError as damage:
            if params.on_bad_file == "stop":
                raise DataContractError(
                    f"{path}:{damage.line}: {damage.detail}",
                    f"mend or remove {path.name}, or set prepare.read.on_bad_file: quarantine",
                ) from damage
            problem = BadRowError("damaged_file", f"{damage.detail}; from {damage.line} on")
            yield Chunk(source, damage.line, "values", [Refused(_file_digest(path), problem)])


def _file_chunks(path: Path, source: str, params: ReadParams, chunk_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of one file."""
    limit = params.max_row_mib * MIB
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _value_chunks(source, parquet_values(path), chunk_bytes)
        return
    encoding = _encoding(path, source, params)
    stream = byte_lines(blocks(path), encoding)
    if kind == ".csv":
        yield from _value_chunks(source, csv_values(stream, encoding, limit), chunk_bytes)
    elif kind == ".json" and _begins_array(path, encoding):
        yield from _value_chunks(source, array_values(text_blocks(stream, encoding), limit), chunk_bytes)
    else:
        # A .json file that is no array is read as JSON Lines: many tools name them so.
        line_encoding = "gb18030" if encoding == "gb18030" else "utf-8"
        yield from line_chunks(source, stream, line_encoding, limit, chunk_bytes)


def _value_chunks(source: str, values: Iterator[tuple[Any, int]], chunk_bytes: int) -> Iterator[Chunk]:
    """Yield values in chunks; at damage, first what came before it."""
    line, size = 1, 0
    held: list[Any] = []
    try:
        for value, length in values:
            held.append(value)
            size += length
            if size >= chunk_bytes:
                yield Chunk(source, line, "values", held)
                line, size, held = line + len(held), 0, []
    except DamageError:
        if held:
            yield Chunk(source, line, "values", held)
        raise
    if held:
        yield Chunk(source, line, "values", held)


def _encoding(path: Path, source: str, params: ReadParams) -> str:
    """Return the encoding of a file, from the settings or from its bytes."""
    stated = params.files[source].encoding if source in params.files else None
    if stated == "utf-16":
        return sample_encoding([next(blocks(path), b"")], wide=True)
    return stated or encoding_of(path)


def _begins_array(path: Path, encoding: str) -> bool:
    """Tell whether the first character of a file opens a JSON array."""
    for block in byte_lines(blocks(path), encoding):
        if begun := block.lstrip():
            return begun[:1] == b"["
    return False


def _file_digest(path: Path) -> bytes:
    """Return what a damaged file's one row is named by."""
    if not path.is_file():
        return b"damaged unreadable"
    try:
        with path.open("rb") as stream:
            return f"damaged sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode()
    except OSError:
        return b"damaged unreadable"
