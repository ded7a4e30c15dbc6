"""A raw folder to put files into, and what reading makes of it."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.settings import FileParams, ReadParams
from tasks.data.reading.raw import RawRow, read_chunks, rows_of

READ = ReadParams(on_bad_row="quarantine", on_bad_file="quarantine", max_row_mib=1, repair_mojibake=True, files={})


def jsonl_bytes(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def json_bytes(rows: list[Any]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def csv_bytes(rows: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet_bytes(rows: list[Any]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


CONTAINERS: dict[str, Callable[[list[Any]], bytes]] = {
    "jsonl": jsonl_bytes,
    "json": json_bytes,
    "csv": csv_bytes,
    "parquet": parquet_bytes,
}


@dataclass
class RawFolder:
    """data/raw of a small project."""

    raw: Path

    def path(self, name: str) -> Path:
        """Return the path of an instruction file."""
        return self.raw / "instructions" / name

    def put(self, name: str, content: bytes) -> Path:
        """Write a file; one named .gz is gzipped."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
        return self.path(name)

    def put_rows(self, name: str, rows: list[Any]) -> Path:
        """Write rows in the container that the name says."""
        return self.put(name, CONTAINERS[name.removesuffix(".gz").rsplit(".")[-1]](rows))

    def rows(self, params: ReadParams = READ, chunk_bytes: int = 1 << 22) -> list[RawRow]:
        """Read everything; indices are checked to count from 0 in every chunk."""
        found = []
        for chunk in read_chunks(self.raw, params, chunk_bytes):
            rows = list(rows_of(chunk, params))
            assert [row.index for row in rows] == list(range(len(rows)))
            found += rows
        return found

    def told(self, **options: Any) -> list[Any]:
        """Return the values, or the reasons of rows that could not be read."""
        return [row.problem.reason if row.problem else row.value for row in self.rows(**options)]


@pytest.fixture
def folder(tmp_path: Path) -> RawFolder:
    """An empty raw folder."""
    (tmp_path / "instructions").mkdir()
    return RawFolder(tmp_path)


@pytest.fixture
def new_folder() -> Callable[[Path], RawFolder]:
    """The builder of raw folders, for tests that need many."""

    def build(raw: Path) -> RawFolder:
        (raw / "instructions").mkdir(exist_ok=True)
        return RawFolder(raw)

    return build


@pytest.fixture
def read_params() -> Callable[..., ReadParams]:
    """The settings of these tests with some changed."""

    def build(files: dict[str, dict[str, Any]] | None = None, **changes: Any) -> ReadParams:
        overrides = {
            name: FileParams(**({"format": None, "encoding": None} | values)) for name, values in (files or {}).items()
        }
        return READ.model_copy(update={"files": overrides, **changes})

    return build
