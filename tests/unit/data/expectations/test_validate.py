"""Stage validate: real Great Expectations; each planted fault breaks the expectation that guards against it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.digest import file_digests
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.settings import ValidateParams
from tasks.data.validate import validate

PARAMS = ValidateParams(
    min_train_rows=10,
    max_quarantined_fraction=0.2,
    max_dropped_fraction=0.2,
    min_chinese_fraction=0.5,
    answer_characters=(2, 200),
    max_turns=6,
)
#: Where a mobile number is planted; it must be masked in every message.
NUMBER = "13800138000"


@pytest.fixture
def ready(project: Any, alpaca_row: Callable[..., dict[str, Any]]) -> Any:
    """A project with twelve prepared rows."""
    rows = [
        alpaca_row(f"第{n}条：隐蔽时做什么？{'问' * n}", f"关窗并听广播，第{n}次。" + "答" * n, concept="sheltering")
        for n in range(12)
    ]
    project.write("rows.jsonl", rows)
    project.prepare()
    return project


def run(project: Any, params: ValidateParams = PARAMS, name: str = "validation") -> tuple[dict[str, Any], Path]:
    """Run the stage into a fresh folder."""
    output = project.root / "data" / "reports" / name
    output.mkdir(parents=True)
    return validate(params, output=output, prepared=project.prepared), output


def edit(project: Any, change: Callable[[list[Any]], None], name: str = "train.jsonl") -> None:
    """Change a prepared file as a careless hand would, after the ledger was closed."""
    rows = list(read_jsonl(project.prepared / name))
    change(rows)
    write_jsonl(project.prepared / name, rows)


def answer(rows: list[Any], text: str) -> None:
    """Replace the first row's answer."""
    rows[0]["messages"][-1]["content"] = text


def edit_summary(project: Any, rows_in: int) -> None:
    """Claim another number of raw rows."""
    path = project.prepared / "summary.json"
    summary = read_json(path)
    summary["rows"]["in"] = rows_in
    write_json(path, summary)


def test_good_rows_pass_and_two_runs_are_byte_identical(ready: Any) -> None:
    result, first = run(ready)
    assert result == {"expectations": 21, "met": 21, "warnings": []}
    _, second = run(ready, name="again")
    assert file_digests(first) == file_digests(second)
    report = read_json(first / "validation.json")
    assert report["success"] is True
    assert report["engine"]["name"] == "great_expectations"
    assert {found["name"]: found["observed"] for found in report["expectations"]}["train_rows"] == 12


def test_data_docs_are_great_expectations_pages_that_need_no_network(ready: Any) -> None:
    _, output = run(ready)
    pages = {page.relative_to(output / "data_docs").as_posix(): page.read_text() for page in output.rglob("*.html")}
    assert {"index.html", "expectations/rows.html", "expectations/totals.html"} < set(pages)
    assert sum(name.startswith("validations/") for name in pages) == 2
    for text in pages.values():
        assert not re.search(r"<(?:script|link|img)\b[^>]*//", text)
        assert "url(http" not in text
    assert "no_personal_data" in pages["expectations/rows.html"]
    for target in re.findall(r'href="([^"]+\.html)"', pages["index.html"]):
        assert target in pages


FAULTS: dict[str, Callable[[Any], None]] = {
    "row_ids_unique": lambda p: edit(p, lambda rows: rows[1].update(row_id=rows[0]["row_id"])),
    "roles_in_order": lambda p: edit(p, lambda rows: rows[0]["messages"].reverse()),
    "no_empty_turn": lambda p: edit(p, lambda rows: answer(rows, "  ")),
    "reasoning_well_formed": lambda p: edit(p, lambda rows: answer(rows, "<think>没有结束")),
    "no_duplicates": lambda p: edit(p, lambda rows: rows[1].update(messages=rows[0]["messages"])),
    "no_personal_data": lambda p: edit(p, lambda rows: answer(rows, f"拨打{NUMBER}")),
    "no_eval_leak": lambda p: edit(p, lambda rows: rows[0]["messages"][0].update(content="铯-137的半衰期是多少年？")),
    "language_known": lambda p: edit(p, lambda rows: rows[0].update(language="de")),
    "ledger_balances": lambda p: edit_summary(p, 13),
    "kept_rows_written": lambda p: edit(p, lambda rows: rows.pop()),
    "written_rows_kept": lambda p: edit(p, lambda rows: rows[0].update(row_id="r-invented")),
    "calibration_from_train": lambda p: edit(p, lambda rows: rows[0].update(row_id="r-x"), "calibration.jsonl"),
    "eval_sets_searched": lambda p: edit(p, lambda rows: rows.clear(), "eval_questions.jsonl"),
    "chinese_fraction": lambda p: edit(p, lambda rows: [row.update(language="en") for row in rows[:9]]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_breaks_its_expectation(ready: Any, name: str) -> None:
    FAULTS[name](ready)
    with pytest.raises(DataContractError, match=f"critical {name}: ") as broken:
        run(ready)
    assert broken.value.exit_code == 3
    assert NUMBER not in str(broken.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("train_rows", {"min_train_rows": 13}),
        ("quarantined_fraction", {"max_quarantined_fraction": 0.0}),
        ("dropped_fraction", {"max_dropped_fraction": 0.0}),
    ],
)
def test_thresholds_come_from_the_parameters(ready: Any, name: str, values: dict[str, Any]) -> None:
    copy = {"instruction": "第0条：隐蔽时做什么？", "output": "关窗并听广播，第0次。"}
    ready.write("bad.jsonl", [copy, "不是JSON"])
    ready.prepare()
    with pytest.raises(DataContractError, match=f"critical {name}: ") as broken:
        run(ready, PARAMS.model_copy(update=values))
    assert str(next(iter(values.values()))) in broken.value.message


def test_a_failure_shows_three_masked_rows_and_keeps_the_data_docs(ready: Any) -> None:
    edit(
        ready, lambda rows: [row["messages"][-1].update(content=f"拨打{NUMBER}，第{n}次") for n, row in enumerate(rows)]
    )
    with pytest.raises(DataContractError) as broken:
        run(ready)
    message = broken.value.message
    assert "no personal data is left in any turn; observed 12 of 12 rows, threshold no exception" in message
    assert message.count("拨打[MOBILE]") == 3
    kept = ready.root / ".tunegate" / "failed" / "validation"
    assert str(kept / "data_docs" / "index.html") in message
    assert "no_personal_data" in (kept / "data_docs" / "index.html").read_text()
    assert read_json(kept / "validation.json")["success"] is False
    assert all(NUMBER not in path.read_text() for path in kept.rglob("*") if path.is_file())


def test_warnings_are_reported_and_do_not_stop(ready: Any) -> None:
    edit(ready, lambda rows: answer(rows, "长" * 201))
    edit(ready, lambda rows: rows[1].update(concept=None))
    result, output = run(ready, PARAMS.model_copy(update={"max_turns": 1}))
    assert result["warnings"] == ["answers_short_enough", "turns", "concept_named"]
    report = {found["name"]: found for found in read_json(output / "validation.json")["expectations"]}
    assert report["turns"]["success"] is False
    assert report["turns"]["severity"] == "warning"
    assert report["answers_short_enough"]["unexpected_rows"] == 1


def test_missing_files_and_no_rows_are_clear_errors(ready: Any) -> None:
    edit(ready, lambda rows: rows.clear())
    with pytest.raises(DataContractError, match="holds no row"):
        run(ready)
    (ready.prepared / "ledger.jsonl").unlink()
    with pytest.raises(DataContractError, match=r"has no ledger\.jsonl") as missing:
        run(ready, name="again")
    assert missing.value.hint == "tunegate stage prepare"


def test_a_damaged_row_is_a_clear_error(ready: Any) -> None:
    path = ready.prepared / "train.jsonl"
    path.write_text(path.read_text() + json.dumps({"row_id": "r-1"}) + "\n")
    with pytest.raises(DataContractError, match=r"train\.jsonl:13 is no chat row"):
        run(ready)
