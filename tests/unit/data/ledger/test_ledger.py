"""Rows in = kept + dropped + quarantined, to the row, whatever is thrown at the stage."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import DataContractError
from tasks.data.ledger.ledger import Ledger, row_id
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS
from tasks.data.reading.raw import RawRow

BOM = b"\xef\xbb\xbf"
GOOD = {"instruction": "什么是隐蔽？", "output": "进入建筑物，关闭门窗和通风，收听官方消息。"}


def entered(ledger: Ledger, *contents: str) -> list[str]:
    return [ledger.enter(RawRow("a.jsonl", number, number + 1, text, None)) for number, text in enumerate(contents)]


def test_ids_follow_content_and_origin_not_position() -> None:
    first, second = entered(Ledger(), "甲", "乙")
    assert entered(Ledger(), "新", "甲", "乙")[1:] == [first, second]
    assert row_id("b.jsonl", "甲", 0) != first == row_id("a.jsonl", "甲", 0)


def test_copies_in_one_file_have_their_own_ids() -> None:
    assert len(set(entered(Ledger(), "甲", "甲", "甲"))) == 3


def test_a_row_without_fate_is_an_error_that_names_its_place() -> None:
    ledger = Ledger()
    kept, _ = entered(ledger, "甲", "乙")
    ledger.settle(kept, "kept", "clean", "no rule matched", {})
    with pytest.raises(DataContractError, match=r"1 of 2 rows have no fate \(a.jsonl:2\)"):
        ledger.require_balance([kept])


def test_a_kept_row_that_was_not_written_is_an_error() -> None:
    ledger = Ledger()
    (kept,) = entered(ledger, "甲")
    ledger.settle(kept, "kept", "clean", "no rule matched", {})
    ledger.require_balance([kept])
    for written in ([], [kept, kept], [kept, "r-invented"]):
        with pytest.raises(DataContractError, match="kept rows and written rows differ"):
            ledger.require_balance(written)


def test_two_fates_and_unknown_rows_are_errors() -> None:
    ledger = Ledger()
    (name,) = entered(ledger, "甲")
    ledger.settle(name, "dropped", "eval_leak", "rule", {})
    with pytest.raises(DataContractError, match="has a fate already"):
        ledger.settle(name, "kept", "clean", "rule", {})
    with pytest.raises(DataContractError, match="never came in"):
        ledger.settle("r-invented", "kept", "clean", "rule", {})


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=12), st.lists(json_values, max_size=4))
@example([BOM], [])
@example([b"1", BOM], [])
@example([BOM + b"1", BOM + b"2"], [])
def test_the_ledger_balances_on_any_damage(
    new_project: Callable[[Path], Any], content: list[bytes], array: list[Any]
) -> None:
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
        known = {*QUARANTINE_REASONS, *DROP_REASONS, "clean", "personal_data_masked"}
        assert {entry["reason"] for entry in ledger} <= known
