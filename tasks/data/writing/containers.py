"""Rows to files: JSON, JSON Lines, CSV and Parquet, each plain or gzipped, always in one rename."""

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

Rows = Iterator[dict[str, Any]]
BATCH_ROWS = 1024


def write_rows(path: Path, rows: Rows, container: str, *, packed: bool) -> None:
    """Write rows to a file that is complete or absent; rows are taken one by one.

    Args:
        path: file to write.
        rows: all with the same fields.
        container: json, jsonl, csv or parquet.
        packed: gzip the file; its bytes depend on the rows alone (no name, no time).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _opened(partial, packed) as stream:
            _WRITERS[container](stream, rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing."""
    with path.open("wb") as plain:
        if not packed:
            yield plain
            return
        with gzip.GzipFile(filename="", fileobj=plain, mode="wb", mtime=0) as stream:
            yield stream  # type: ignore[misc]


def _write_jsonl(stream: IO[bytes], rows: Rows) -> None:
    """Write one row a line."""
    for row in rows:
        stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_json(stream: IO[bytes], rows: Rows) -> None:
    """Write one array, one item a line."""
    stream.write(b"[")
    for number, row in enumerate(rows):
        stream.write((b",\n" if number else b"\n") + json.dumps(row, ensure_ascii=False).encode())
    stream.write(b"\n]\n")


def _write_csv(stream: IO[bytes], rows: Rows) -> None:
    """Write a table with a header; lists and objects as JSON text."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row))
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
    text.detach()


def _cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_parquet(stream: IO[bytes], rows: Rows) -> None:
    """Write a table of nested columns; the schema is the first batch's (all rows have the same fields)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for batch in _batches(rows):
        table = pa.Table.from_pylist(batch, schema=writer.schema if writer else _schema(batch[0]))
        writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def _schema(row: dict[str, Any]) -> Any:
    """Return the schema of rows like this one; an empty list says nothing of its items, the formats do."""
    import pyarrow as pa

    pairs = pa.list_(pa.list_(pa.string()))
    return pa.schema([(name, pairs if name == "history" else _type(value)) for name, value in row.items()])


def _type(value: Any) -> Any:
    """Return the type of a value made of texts, lists and objects."""
    import pyarrow as pa

    if isinstance(value, list):
        return pa.list_(_type(value[0]))
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, dict):
        return pa.struct([(name, _type(inner)) for name, inner in value.items()])
    return pa.string()


def _batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in batches."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


_WRITERS: Final[dict[str, Callable[[IO[bytes], Rows], None]]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
