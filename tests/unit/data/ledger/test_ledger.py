"""Rows in = kept + dropped + quarantined, to the row, whatever is thrown at the stage."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import DataContractError
from tasks.data.ledger.ledger import copy_number, fate_of, require_balance, row_number
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS
from tasks.data.reading.encoding import sample_encoding

BOM = b"\xef\xbb\xbf"
GOOD = {"instruction": "什么是隐蔽？", "output": "进入建筑物，关闭门窗和通风，收听官方消息。"}
NAMES = np.arange(3, dtype=np.uint64)


def test_ids_follow_content_and_origin() -> None:
    first = row_number("a.jsonl", "甲".encode())
    assert first == row_number("a.jsonl", "甲".encode())
    assert len({first, row_number("b.jsonl", "甲".encode()), row_number("a.jsonl", "乙".encode())}) == 3
    assert len({first, *(copy_number(first, copy) for copy in range(1, 4))}) == 4


def test_every_reason_has_one_fate() -> None:
    assert {fate_of(reason) for reason in DROP_REASONS} == {"dropped"}
    assert {fate_of(reason) for reason in QUARANTINE_REASONS} == {"quarantined"}
    assert fate_of("") == "kept"
    assert not {*DROP_REASONS} & {*QUARANTINE_REASONS}


def test_a_balanced_ledger_passes() -> None:
    require_balance(NAMES, {"kept": 2, "dropped": 1, "quarantined": 0}, {"train": 1, "validation": 1}, 3)


@pytest.mark.parametrize(
    ("fates", "written", "names", "said"),
    [
        ({"kept": 2, "dropped": 0, "quarantined": 0}, {"train": 2}, NAMES, "3 rows came in, 2 have a fate"),
        ({"kept": 3, "dropped": 1, "quarantined": 0}, {"train": 3}, NAMES, "3 rows came in, 4 have a fate"),
        ({"kept": 3, "dropped": 0, "quarantined": 0}, {"train": 2}, NAMES, "3 rows are kept, 2 were written"),
        ({"kept": 3, "dropped": 0, "quarantined": 0}, {"train": 3}, NAMES // 2, "1 raw rows share the id"),
    ],
)
def test_rows_that_vanish_or_come_twice_stop_the_stage(fates: Any, written: Any, names: Any, said: str) -> None:
    with pytest.raises(DataContractError, match=said):
        require_balance(names, fates, written, 3)


texts = st.text(max_size=20) | st.sampled_from(
    ["", " ", "<think>", "<think>想</think>答", "13800138000", "\ud800", "\x00"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
roles = st.sampled_from(["human", "gpt", "system", "observation", "narrator", "user", "assistant", "developer"])
turns = st.lists(
    st.fixed_dictionaries({}, optional={"from": roles | scalars, "value": texts | json_values, "role": roles}),
    max_size=4,
)
rows = (
    st.fixed_dictionaries({"instruction": texts | scalars}, optional={"input": scalars, "output": json_values})
    | st.fixed_dictionaries({"conversations": turns | json_values}, optional={"system": scalars, "tools": scalars})
    | st.fixed_dictionaries({"messages": st.lists(st.fixed_dictionaries({"role": roles, "content": texts | scalars}))})
    | st.sampled_from([GOOD, {**GOOD, "concept": 7}])
    | json_values
)
lines = rows.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=40).map(
    lambda data: data.replace(b"\n", b"")
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=12), st.lists(json_values, max_size=4))
@example([BOM], [])
@example([b"1", BOM], [])
@example([BOM + b"1", BOM + b"2"], [])
def test_the_ledger_balances_on_any_damage(
    new_project: Callable[[Path], Any], content: list[bytes], array: list[Any]
) -> None:
    # Bytes that open a file as UTF-16 or UTF-32 make it one; which bytes are lines is another question then.
    assume(not sample_encoding([b"\n".join(content)]).startswith(("utf-16", "utf-32")))
    with tempfile.TemporaryDirectory() as folder:
        project = new_project(Path(folder))
        project.write("good.jsonl", [GOOD])
        (project.raw / "instructions" / "any.jsonl").write_bytes(b"\n".join(content))
        (project.raw / "instructions" / "array.json").write_text(json.dumps(array))
        project.prepare()
        ledger = project.lines("ledger.jsonl")
        # A byte order mark that opens the file is its encoding, not a row; anywhere else it is a line like any other.
        told = b"\n".join(content).removeprefix(BOM).split(b"\n")
        expected = 1 + sum(bool(line.strip()) for line in told) + len(array)
        counts = project.summary()["rows"]
        assert counts["in"] == len(ledger) == len({entry["row_id"] for entry in ledger}) == expected
        assert counts["kept"] + counts["dropped"] + counts["quarantined"] == expected
        kept = {entry["row_id"] for entry in ledger if entry["fate"] == "kept"}
        written = [row["row_id"] for name in ("train", "validation") for row in project.lines(f"{name}.jsonl")]
        assert sorted(written) == sorted(kept)
        known = {*QUARANTINE_REASONS, *DROP_REASONS, "clean", "personal_data_replaced"}
        assert {entry["reason"] for entry in ledger} <= known
