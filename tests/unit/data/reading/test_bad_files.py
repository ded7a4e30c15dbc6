"""Every kind of bad file: its damage costs its own rows, or stops the run with file and line, as the settings say."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import DataContractError
from tasks.core.settings import ReadParams
from tasks.data.problems import BadRowError
from tasks.data.reading.formats import parse

Params = Callable[..., ReadParams]
ROWS = [{"instruction": f"第{n}号站点？", "output": f"先测本底，再测{n}个点。"} for n in range(40)]
GOOD = ROWS[0]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
PACKED = gzip.compress(LINES)
AB = {"a": "3", "b": "4"}
DEEP = b"[" * 99_999 + b"]" * 99_999
DAMAGED = "damaged_file"

#: What it is, file name, its bytes as they stand on disk, what is told of it where damage does not stop the run.
FILES: list[tuple[str, str, bytes, list[Any]]] = [
    ("empty", "z.jsonl", b"", []),
    ("empty array file", "z.json", b"", []),
    ("empty table", "z.csv", b"", []),
    ("empty gzip", "z.jsonl.gz", gzip.compress(b""), []),
    ("no bytes, named gz", "z.jsonl.gz", b"", []),
    ("empty parquet", "z.parquet", b"", [DAMAGED]),
    ("not gzip", "z.jsonl.gz", LINES, [DAMAGED]),
    ("gzip with a plain name", "z.jsonl", PACKED, ROWS),
    ("gzip of two members", "z.jsonl.gz", PACKED + PACKED, ROWS * 2),
    ("gzip with padding", "z.jsonl.gz", PACKED + bytes(99), ROWS),
    ("gzip without its end", "z.jsonl.gz", PACKED[:-9], [*ROWS, DAMAGED]),
    ("gzip with a wrong sum", "z.jsonl.gz", PACKED[:-8] + bytes(8), [*ROWS[:-1], DAMAGED]),
    ("rubbish after gzip", "z.jsonl.gz", PACKED + b"more", [*ROWS, DAMAGED]),
    ("gzip of rubbish parquet", "z.parquet.gz", PACKED, [DAMAGED]),
    ("truncated gzip of parquet", "z.parquet.gz", PACKED[:-9], [DAMAGED]),
    ("not parquet", "z.parquet", LINES, [DAMAGED]),
    ("array cut off", "z.json", b'[{"a": 1}, {"b', [{"a": 1}, DAMAGED]),
    ("array without end", "z.json", b"[1, 2", [1, 2, DAMAGED]),
    ("array with rubbish", "z.json", b"[1, {'a': 2}, 3]", [1, DAMAGED]),
    ("array without comma", "z.json", b"[1 2]", [1, DAMAGED]),
    ("array with a last comma", "z.json", b"[1,]", [1, DAMAGED]),
    ("text after the array", "z.json", b"[1] 2", [1, DAMAGED]),
    ("deep array", "z.json", b"[1, " + DEEP + b", 2]", [1, "malformed_json", 2]),
    ("array with wrong bytes", "z.json", b'["\xff\xfe\xfd", "\xe4\xb8\x80"]', ["malformed_encoding", "一"]),
    ("lines named json", "z.json", b"1\n2\n", [1, 2]),
    ("csv without names", "z.csv", b"a,,b\n1,2,3\n", [DAMAGED]),
    ("csv with double names", "z.csv", b"a,a\n1,2\n", [DAMAGED]),
    ("csv with ragged rows", "z.csv", b"a,b\n1\n1,2,3\n3,4\n\n", ["malformed_csv", "malformed_csv", AB]),
    ("csv with an open quote", "z.csv", b'a,b\n1,"2\n3,4\n', ["malformed_csv", AB]),
    ("csv with wrong bytes", "z.csv", b"a,b\n1,\xff\n3,4\n", ["malformed_encoding", AB]),
    ("csv with tabs", "z.csv", b"instruction\toutput\n1,2\t3\n", [{"instruction": "1,2", "output": "3"}]),
    ("NUL bytes", "z.jsonl", bytes(64) + b'\n{"a":"\x00"}\n1\n', ["malformed_json", "malformed_json", 1]),
    ("odd UTF-16", "z.jsonl", '"一"\n"二"'.encode("utf-16")[:-1], ["一", "malformed_encoding"]),
    ("half a pair in UTF-16", "z.jsonl", b'\xff\xfe"\x00\x00\xd8"\x00\n\x001\x00', ["malformed_encoding", 1]),
    ("half a pair escaped", "z.jsonl", b'"\\ud800"\n1', ["\ud800", 1]),
    ("no finite number", "z.jsonl", b"1e999\n[NaN]", [float("inf"), "not compared"]),
    ("integer beyond 64 bits", "z.jsonl", b"1" + b"0" * 30, [1e30]),
    ("integer beyond 64 bits in an array", "z.json", b"[1" + b"0" * 30 + b"]", [1e30]),
    (
        "integer beyond all",
        "z.jsonl",
        b"9" * 999 + b"\n" + b"9" * 9_999 + b"\n1",
        ["malformed_json", "malformed_json", 1],
    ),
    ("deep line", "z.jsonl", DEEP + b"\n1", ["malformed_json", 1]),
]
DAMAGES = [file for file in FILES if DAMAGED in file[3]]
#: What is no regular file; each its one refused row.
ODD = [
    "directory.jsonl",
    "directory.parquet",
    "directory.csv.gz",
    "pipe.jsonl",
    "pipe.parquet",
    "nowhere.jsonl",
    "locked.json",
]


def make_odd(folder: Any, name: str) -> None:
    """Put something under a data file's name that cannot be read as one."""
    path, kind = folder.path(f"z{name}"), name.split(".")[0]
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "nowhere":
        path.symlink_to("nowhere")
    else:
        folder.put(path.name, LINES).chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("root reads every file")


@pytest.mark.parametrize("chunk_bytes", [16, 1 << 22])
# Named by what they are: packed bytes hold the time, and processes beside each other must see the same names.
@pytest.mark.parametrize(("kind", "name", "content", "expected"), FILES, ids=[file[0] for file in FILES])
def test_a_bad_file_costs_its_own_rows_only(
    folder: Any, kind: str, name: str, content: bytes, expected: list[Any], chunk_bytes: int
) -> None:
    folder.put_rows("a.jsonl", [GOOD])
    folder.path(name).write_bytes(content)
    folder.put_rows("zz.jsonl", [GOOD])
    told = folder.told(chunk_bytes=chunk_bytes)
    # NaN is equal to nothing.
    told = ["not compared" if value != value or str(value) == "[nan]" else value for value in told]
    assert told == [GOOD, *expected, GOOD], kind


@pytest.mark.parametrize(("kind", "name", "content", "expected"), DAMAGES, ids=[file[0] for file in DAMAGES])
def test_a_damaged_file_can_stop_the_run(
    folder: Any, read_params: Params, kind: str, name: str, content: bytes, expected: list[Any]
) -> None:
    folder.path(name).write_bytes(content)
    with pytest.raises(DataContractError, match=rf"instructions/{name}:{len(expected)}: ") as stopped:
        folder.rows(read_params(on_bad_file="stop"))
    assert "on_bad_file: quarantine" in stopped.value.hint, kind


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_readable_file_is_one_refused_row_or_stops_the_run(
    folder: Any, read_params: Params, name: str
) -> None:
    folder.put_rows("a.jsonl", [GOOD])
    make_odd(folder, name)
    folder.put_rows("zz.jsonl", [GOOD])
    assert folder.told() == [GOOD, DAMAGED, GOOD]
    with pytest.raises(DataContractError, match=rf"instructions/z{name}:1: it "):
        folder.rows(read_params(on_bad_file="stop"))


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("chunk_bytes", [1_000, 1 << 22])
def test_a_row_that_is_too_long_is_refused_alone(folder: Any, container: str, chunk_bytes: int) -> None:
    long = {"instruction": "长" * 400_000, "output": '"}],['}
    folder.put_rows(f"a.{container}", [GOOD, long, long, GOOD])
    rows = folder.rows(chunk_bytes=chunk_bytes)
    assert [row.problem.reason if row.problem else row.value for row in rows] == [GOOD, "oversized", "oversized", GOOD]
    assert len(rows[1].content) < 100


@pytest.mark.parametrize(("name", "mib"), [("a.jsonl", 200), ("a.json", 30), ("a.csv", 30)])
def test_a_line_of_200_mib_is_never_held_whole(folder: Any, name: str, mib: int) -> None:
    with folder.path(name).open("wb") as stream:
        stream.write(b'[{"a": "' if name == "a.json" else b"instruction\n" if name == "a.csv" else b"")
        for _ in range(mib):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}, 1]' if name == "a.json" else b"\n1\n")
    tracemalloc.start()
    told = folder.told()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == ["oversized", {"instruction": "1"} if name == "a.csv" else 1]
    assert peak < 24 << 20


def test_parquet_with_wrong_types_is_refused_row_by_row(folder: Any) -> None:
    rows = [{"instruction": n, "output": [n], "when": None, "raw": b"\xff"} for n in range(3)]
    folder.put_rows("a.parquet", rows)
    assert [row.value["instruction"] for row in folder.rows()] == [0, 1, 2]
    for row in folder.rows():
        with pytest.raises(BadRowError, match="wrong_type"):
            parse(row.value)


def test_parquet_with_text_that_is_not_utf8(folder: Any) -> None:
    texts = pa.array([b"one", b"\xff\xfe", b"three"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"instruction": texts}), folder.path("a.parquet"))
    assert folder.told() == [{"instruction": "one"}, "malformed_encoding", {"instruction": "three"}]


def test_a_damaged_page_of_a_parquet_file_costs_the_rest_of_it(folder: Any) -> None:
    path = folder.put_rows("a.parquet", [{"instruction": os.urandom(32).hex()} for _ in range(2_000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4_000] = b"\xff" * 4_000
    path.write_bytes(content)
    told = folder.told()
    assert told[-1] == DAMAGED
    assert len(told) <= 2_001
