"""Raw instruction files to chunks of rows: every row comes through, readable or not, with its place."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import FileParams, ReadParams
from tasks.data.problems import BadRowError
from tasks.data.reading.arrays import array_values
from tasks.data.reading.blocks import HEAD_BYTES, DamageError, blocks, byte_lines, encoding_of, text_blocks
from tasks.data.reading.encoding import sample_encoding
from tasks.data.reading.formats import Parsed, parse
from tasks.data.reading.formats.turns import SPEAKERS
from tasks.data.reading.lines import line_chunks
from tasks.data.reading.rows import DECODER, MIB, Chunk, RawRow, Refused, rows_of
from tasks.data.reading.tables import csv_values, parquet_values

__all__ = [
    "INSTRUCTIONS",
    "Chunk",
    "Parser",
    "RawRow",
    "Refused",
    "instruction_files",
    "parser_of",
    "read_chunks",
    "rows_of",
]

log = logging.getLogger(__name__)

#: A raw row's value -> the chat it is; raises `BadRowError`.
Parser = Callable[[Any], Parsed]
INSTRUCTIONS = "instructions"
_SPEAKER = frozenset(SPEAKERS)
_ROWS_LOOKED_AT = 200
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


def parser_of(source: str, params: ReadParams) -> Parser:
    """Return the reader of a file's rows: what the settings know of it, the rest told by each row."""
    known = params.files.get(source) or FileParams()
    columns: dict[str, str | None] = {field: column for field, column in known.columns.items()}  # noqa: C416
    return partial(
        parse, override_format=known.format, repair_mojibake=params.repair_mojibake, columns=columns,
        roles=dict(known.roles),
    )  # fmt: skip


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
    require_known_files(files, raw, params)
    for source, path in files.items():
        try:
            yield from file_chunks(path, source, params, chunk_bytes)
        except DamageError as damage:
            if params.on_bad_file == "stop":
                raise DataContractError(
                    f"{path}:{damage.line}: {damage.detail}",
                    f"mend or remove {path.name}, or set prepare.read.on_bad_file: quarantine",
                ) from damage
            problem = BadRowError("damaged_file", f"{damage.detail}; from {damage.line} on")
            yield Chunk(source, damage.line, "values", [Refused(_file_digest(path), problem)])


def require_known_files(files: Mapping[str, Path], raw: Path, params: ReadParams) -> None:
    """Check what the settings say about files: each is there, and has the columns that are named.

    Args:
        files: path under data/raw -> path.
        raw: data/raw of the project.
        params: section `prepare.read`.

    Raises:
        ConfigError: a file or a column is not there.
    """
    if unknown := sorted(set(params.files) - set(files)):
        raise ConfigError(
            f"prepare.read.files: {unknown[0]} is no file under {raw}", f"one of: {', '.join(list(files)[:5])}"
        )
    for source, known in params.files.items():
        wanted = {column for column in known.columns.values() if column}
        if wanted and (missing := sorted(wanted - (found := _columns_of(files[source], source, params)))):
            raise ConfigError(
                f"prepare.read.files: {source} has no column {missing[0]}",
                f"its columns are {', '.join(sorted(found)[:20]) or 'none'}",
            )


def _columns_of(path: Path, source: str, params: ReadParams) -> set[str]:
    """Return the fields of the first rows of a file, and of the turns in them."""
    found: set[str] = set()
    # Damage is said where the file is read.
    with suppress(DamageError):
        chunk = next(file_chunks(path, source, params, MIB), None)
        for row in islice(rows_of(chunk, params), _ROWS_LOOKED_AT) if chunk else ():
            held = row.value if isinstance(row.value, list) else [row.value]
            for value in filter(lambda one: isinstance(one, dict), held):
                found |= {*value}
                lists = [inner for inner in value.values() if isinstance(inner, list)]
                found |= {name for inner in lists for turn in inner if isinstance(turn, dict) for name in turn}
    return found


def file_chunks(path: Path, source: str, params: ReadParams, chunk_bytes: int = 4 * MIB) -> Iterator[Chunk]:
    """Yield the chunks of one file.

    Args:
        path: the file.
        source: what it is called: its path under data/raw.
        params: section `prepare.read`.
        chunk_bytes: about the size of a chunk.

    Raises:
        DamageError: the file cannot be read to its end.
    """
    limit = params.max_row_mib * MIB
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _value_chunks(source, parquet_values(path), chunk_bytes)
        return
    encoding = _encoding(path, source, params)
    stream = byte_lines(blocks(path), encoding)
    if kind == ".csv":
        yield from _value_chunks(source, csv_values(stream, encoding, limit), chunk_bytes)
    elif _is_array(path, encoding, kind):
        yield from _value_chunks(source, array_values(text_blocks(stream, encoding), limit), chunk_bytes)
    else:
        # The content tells, not the name: many tools write lines into .json, and one array into .jsonl.
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


def _is_array(path: Path, encoding: str, kind: str | None) -> bool:
    """Tell whether a file is one JSON array of rows, not a row a line (a line may be a bare list of turns)."""
    head = b""
    for block in byte_lines(blocks(path), encoding):
        head = (head + block).lstrip()
        if head[:1] not in (b"", b"[") or len(head) >= HEAD_BYTES:
            break
    if head[:1] != b"[":
        return False
    first, _, further = head.partition(b"\n")
    try:
        items = DECODER.decode(first.decode("gb18030" if encoding == "gb18030" else "utf-8"))
    except (ValueError, RecursionError):
        # The first line ends within the array, or is damaged; in lines only what surely goes on is no damage.
        begun = first[1:].strip()
        return kind == ".json" or not begun or (begun[:1] == b"{" and begun.endswith((b",", b"{", b"[")))
    if further.strip():
        return False
    # One line alone: a conversation, or an array of rows.
    if not items or not all(isinstance(item, dict) for item in items):
        return kind == ".json"
    return not all(_SPEAKER.intersection(item) for item in items)


def _file_digest(path: Path) -> bytes:
    """Return what a damaged file's one row is named by."""
    if not path.is_file():
        return b"damaged unreadable"
    try:
        with path.open("rb") as stream:
            return f"damaged sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}".encode()
    except OSError:
        return b"damaged unreadable"
