"""Whatever happens to a file, reading does not crash, and every row that was in it comes out, readable or not.

Kinds of damage: every odd value in every field of every format, every accident to the bytes of a line, and every
accident to a file, in all containers. `test_there_are_enough_kinds` counts them.
"""

import copy
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.data.problems import QUARANTINE_REASONS, BadRowError
from tasks.data.reading.formats import parse

U, A = "碘片什么时候服用？", "接到卫生部门通知后服用。"
TURNS = [{"from": "human", "value": U}, {"from": "gpt", "value": A}]
ROWS: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": U, "input": "", "output": A, "system": "", "history": [[U, A]]},
    "sharegpt": {"conversations": TURNS, "system": "", "tools": "[]"},
    "messages": {"messages": [{"role": "user", "content": U}, {"role": "assistant", "content": A, "tool_calls": []}]},
    "thinking": {
        "messages": [{"role": "user", "content": U}, {"role": "assistant", "content": A, "thinking": "想。"}],
        "reasoning_language": "Chinese",
    },
    "preference": {"prompt": U, "chosen": A, "rejected": "不知道"},
    "preference of turns": {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": TURNS[1]},
}
ODD_VALUES: dict[str, Any] = {
    "null": None,
    "number": 7,
    "float": 0.5,
    "huge integer": 10**30,
    "NaN": float("nan"),
    "true": True,
    "empty": "",
    "white space": " \u3000\n",
    "NUL": "a\x00b",
    "half a pair": "\ud83d",
    "replaced": "碘\ufffd片",
    "think": "<think>",
    "closed twice": "</think></think>",
    "call": "<tool_call>{</tool_call>",
    "JSON text": '[{"from": "human"}]',
    "broken JSON text": "[{",
    "list": [],
    "nulls": [None, None],
    "list of lists": [[[]]],
    "object": {},
    "object of objects": {"from": {"value": {}}},
    "another language": "Закройте окна и двери, слушайте радио",
    "long": "长" * 5_000,
    "control characters": "\x01\x1b[0m\u202e",
}


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [at, *(path for key, held in inner for path in paths(held, (*at, key)))]


def with_value(row: Any, path: tuple[Any, ...], value: Any, *, absent: bool = False) -> Any:
    """Return a copy of a row with another value at a place, or none."""
    if not path:
        return value
    row = copy.deepcopy(row)
    holder = row
    for key in path[:-1]:
        holder = holder[key]
    if absent:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return row


FIELD_KINDS = [
    (name, path, odd) for name, row in ROWS.items() for path in paths(row) for odd in [*ODD_VALUES, "absent"]
]
LINE_KINDS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda line: line[: len(line) // 2],
    "first byte gone": lambda line: line[1:],
    "twice on one line": lambda line: line + line,
    "comma after": lambda line: line + b",",
    "single quotes": lambda line: line.replace(b'"', b"'"),
    "byte order mark": lambda line: b"\xef\xbb\xbf" + line,
    "two byte order marks": lambda line: b"\xef\xbb\xbf" * 2 + line,
    "NUL in front": lambda line: b"\x00" + line,
    "wrong byte": lambda line: line.replace("碘".encode(), b"\xe7\xa2"),
    "overlong NUL": lambda line: line.replace("碘".encode(), b"\xc0\x80"),
    "surrogate bytes": lambda line: line.replace("碘".encode(), b"\xed\xa0\x80"),
    "gb18030": lambda line: line.decode().encode("gb18030"),
    "read as gb18030": lambda line: line.decode("gb18030", "replace").encode(),
    "read as latin-1": lambda line: line.decode("latin-1").replace("\x85", "").encode(),
    "carriage return": lambda line: line + b"\r",
    "control character": lambda line: line.replace(b'": "', b'": "\x0b'),
    "escape cut": lambda line: line.replace("碘".encode(), b"\\u78"),
    "comment": lambda line: b"// " + line,
    "number": lambda _: b"-",
    "literal": lambda _: b"nul",
    "deep": lambda _: b'{"a":' * 5_000,
    "rubbish": lambda _: bytes(byte for byte in range(256) if byte not in b"\n\r\t\x0b\x0c ") * 3,
}
FILE_KINDS: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda data, at: data[:at],
    "hole": lambda data, at: data[:at] + data[at + 9 :],
    "zeros": lambda data, at: data[:at] + bytes(16) + data[at + 16 :],
    "flipped": lambda data, at: data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :],
    "rubbish inside": lambda data, at: data[:at] + b"\xff\xfe\x00\x1f\x8b" + data[at:],
    "doubled": lambda data, at: data[:at] + data,
}
CONTAINERS = [f"{container}{gz}" for container in ("jsonl", "json", "csv", "parquet") for gz in ("", ".gz")]
NO_FIXTURE_CHECK = [HealthCheck.function_scoped_fixture]


def test_there_are_enough_kinds() -> None:
    odd = {(name.split()[0], kind) for name, _, kind in FIELD_KINDS}
    assert len(odd) + len(LINE_KINDS) + len(FILE_KINDS) * len(CONTAINERS) >= 100
    assert len(FIELD_KINDS) >= 500


def reason_of(value: Any) -> str:
    """Return why a row is refused, "" for one that is understood."""
    try:
        parse(value)
    except BadRowError as problem:
        return problem.reason
    return ""


@pytest.mark.parametrize("name", list(ROWS))
def test_every_odd_value_in_every_field_is_understood_or_refused(folder: Any, name: str) -> None:
    rows = [
        with_value(ROWS[name], path, ODD_VALUES.get(odd), absent=odd == "absent")
        for of, path, odd in FIELD_KINDS
        if of == name
    ]
    folder.put("a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    read = folder.rows()
    assert len(read) == len(rows)
    reasons = [row.problem.reason if row.problem else reason_of(row.value) for row in read]
    assert set(reasons) - {""} <= set(QUARANTINE_REASONS)
    # An empty history, a missing thought: some odd values are none. Most are.
    assert sum(map(bool, reasons)) > len(rows) / 2


@pytest.mark.parametrize("kind", list(LINE_KINDS))
def test_an_accident_to_a_line_costs_that_line_only(folder: Any, kind: str) -> None:
    good = json.dumps(ROWS["alpaca"], ensure_ascii=False).encode()
    folder.put("a.jsonl", b"\n".join([good, good, LINE_KINDS[kind](good), good]))
    for size in (1, 100, 1 << 22):
        rows = folder.rows(chunk_bytes=size)
        assert [row.line for row in rows] == [1, 2, 3, 4]
        assert [reason_of(row.value) for row in (rows[0], rows[1], rows[3])] == ["", "", ""]
        assert rows[2].problem is None or rows[2].problem.reason in QUARANTINE_REASONS


lines = st.one_of(
    st.sampled_from(FIELD_KINDS).map(
        lambda kind: json.dumps(with_value(ROWS[kind[0]], kind[1], ODD_VALUES.get(kind[2]), absent=kind[2] == "absent"))
    ),
    st.recursive(st.none() | st.floats() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)).map(
        json.dumps
    ),
).map(str.encode) | st.tuples(st.sampled_from(list(LINE_KINDS)), st.sampled_from(list(ROWS))).map(
    lambda kind: LINE_KINDS[kind[0]](json.dumps(ROWS[kind[1]], ensure_ascii=False).encode())
)


@settings(max_examples=150, deadline=None, suppress_health_check=NO_FIXTURE_CHECK)
@given(st.lists(lines | st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.booleans())
def test_no_line_of_any_file_is_lost(new_folder: Callable[[Path], Any], content: list[bytes], packed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = new_folder(Path(name))
        # What opens the file tells its encoding, here UTF-8: bytes that follow are rows or damage, not UTF-16.
        folder.put(f"a.jsonl{'.gz' if packed else ''}", b"\n".join([b'"first"', *content]))
        whole = folder.rows()
        assert len(whole) == 1 + sum(bool(line.strip()) for line in content)
        assert {row.problem.reason for row in whole if row.problem} <= set(QUARANTINE_REASONS)
        assert [row.content for row in folder.rows(chunk_bytes=7)] == [row.content for row in whole]
        assert {reason_of(row.value) for row in whole} <= {"", *QUARANTINE_REASONS}


@settings(max_examples=250, deadline=None, suppress_health_check=NO_FIXTURE_CHECK)
@given(st.sampled_from(list(FILE_KINDS)), st.sampled_from(CONTAINERS), st.floats(0, 0.999), st.booleans())
def test_an_accident_to_a_file_loses_no_row_before_it(
    new_folder: Callable[[Path], Any], kind: str, container: str, place: float, inside: bool
) -> None:
    rows = [{"instruction": f"第{n}号站点怎么巡测？", "output": f"先测本底，再测{n}个点。"} for n in range(300)]
    with tempfile.TemporaryDirectory() as name:
        folder = new_folder(Path(name))
        path = folder.put_rows(f"a.{container}", rows)
        data = path.read_bytes()
        if inside and container.endswith(".gz"):
            plain = gzip.decompress(data)
            path.write_bytes(gzip.compress(FILE_KINDS[kind](plain, int(place * len(plain)))))
        else:
            path.write_bytes(FILE_KINDS[kind](data, int(place * len(data))))
        folder.put_rows("b.jsonl", rows[:1])
        told = folder.told()
        assert told[-1] == rows[0]
        assert {value for value in told if isinstance(value, str)} <= set(QUARANTINE_REASONS)
        if container in ("jsonl", "json", "csv"):
            # Rows that end before the damage are there, untouched and first.
            before = _rows_before(data, int(place * len(data)), container)
            assert told[:before] == rows[:before]
        assert folder.told(chunk_bytes=50) == told


def _rows_before(data: bytes, at: int, container: str) -> int:
    """Return how many of the rows end before a place in a file."""
    end = {"jsonl": b"}\n", "json": b"},\n", "csv": b"\n"}[container]
    return max(data[:at].count(end) - (container == "csv"), 0)


def test_the_ledger_of_every_kind_at_once_is_exact(project: Any) -> None:
    """Through the whole stage: as many fates as rows, each kept row written once, nothing lost, no crash."""
    rows = [
        with_value(ROWS[name], path, ODD_VALUES.get(kind), absent=kind == "absent")
        for name, path, kind in FIELD_KINDS
        if path or kind != "absent"
    ]
    values = [json.dumps(row).encode() for row in rows]
    good = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS.values()]
    broken = [damage(line) for damage in LINE_KINDS.values() for line in good[:2]]
    project.write("good.jsonl", [])
    for name, lines_ in (("fields", values), ("lines", broken), ("good", good)):
        (project.raw / "instructions" / f"{name}.jsonl").write_bytes(b"\n".join(lines_) + b"\n")
    project.prepare()
    ledger = project.lines("ledger.jsonl")
    assert len(ledger) == len({entry["row_id"] for entry in ledger}) == len(values) + len(broken) + len(good)
    counts = project.summary()["rows"]
    assert counts["in"] == len(ledger) == counts["kept"] + counts["dropped"] + counts["quarantined"]
    written = [row["row_id"] for name in ("train", "validation") for row in project.lines(f"{name}.jsonl")]
    assert sorted(written) == sorted(entry["row_id"] for entry in ledger if entry["fate"] == "kept")
    # A whole row stands for the good ones; copies of it are its duplicates, whatever was done around them.
    assert counts["kept"] >= len(ROWS) // 2
    assert len({entry["reason"] for entry in ledger}) > 15
