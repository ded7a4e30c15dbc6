"""Stage validate: real Great Expectations; each planted fault breaks the expectation that guards against it."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.digest import file_digests
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.manifest import write_manifest
from tasks.core.settings import ValidateParams
from tasks.data.expectations import suites
from tasks.data.expectations.frames import read_prepared
from tasks.data.expectations.outcome import Outcome
from tasks.data.expectations.rules import row_rules
from tasks.data.expectations.suites import Suite, build_suites, run_suites
from tasks.data.profile import write_profile
from tasks.data.validate import validate

PARAMS = ValidateParams.model_validate_json(
    json.dumps(
        {
            "min_train_rows": 10,
            "max_quarantined_fraction": 0.2,
            "max_dropped_fraction": 0.2,
            "max_too_long_fraction": 0.1,
            "min_chinese_fraction": 0.5,
            "answer_characters": [2, 200],
            "max_turns": 6,
            "raw": {"min_understood_fraction": 0.5, "max_damaged_files": 0},
            "formats": {},
            "severities": {},
            "drift": {"reference": None, "max_stability_index": 0.2},
        }
    )
)
#: Where a mobile number is planted; it must be masked in every message.
NUMBER = "13800138000"


@pytest.fixture(scope="module")
def prepared_once(
    tmp_path_factory: pytest.TempPathFactory,
    new_project: Callable[[Path], Any],
    alpaca_row: Callable[..., dict[str, Any]],
) -> Any:
    """A project with twelve prepared rows."""
    project = new_project(tmp_path_factory.mktemp("ready"))
    rows = [
        alpaca_row(f"第{n}条：隐蔽时做什么？{'问' * n}", f"关窗并听广播，第{n}次。" + "答" * n, concept="sheltering")
        for n in range(12)
    ]
    project.write("rows.jsonl", rows)
    project.prepare()
    return project


@pytest.fixture
def ready(prepared_once: Any, tmp_path: Path) -> Any:
    """A copy of the prepared project, to be spoilt."""
    shutil.copytree(prepared_once.root, tmp_path / "project")
    return replace(prepared_once, root=tmp_path / "project")


def run(project: Any, params: ValidateParams = PARAMS, name: str = "validation") -> tuple[dict[str, Any], Path]:
    """Run the stage into a fresh folder."""
    output = project.root / "data" / "reports" / name
    output.mkdir(parents=True)
    return validate(params, output=output, prepared=project.prepared, raw=project.raw), output


def with_values(**values: Any) -> ValidateParams:
    """Return the parameters with other values, checked as a file's are."""
    return ValidateParams.model_validate_json(json.dumps(PARAMS.model_dump(mode="json") | values))


def edit(project: Any, change: Callable[[list[Any]], None], name: str = "train.jsonl") -> None:
    """Change a prepared file as a careless hand would, after the ledger was closed."""
    rows = list(read_jsonl(project.prepared / name))
    change(rows)
    write_jsonl(project.prepared / name, rows)


def answer(rows: list[Any], text: str) -> None:
    """Replace the first row's answer."""
    rows[0]["messages"][-1]["content"] = text


def use_tool(rows: list[Any]) -> None:
    """Put a tool's result into the first row's conversation."""
    messages = rows[0]["messages"]
    messages[-1:] = [messages[-1], {"role": "tool", "content": "晴"}, {"role": "assistant", "content": "今天是晴天。"}]


def refuse(entries: list[Any], count: int, fate: str, reason: str) -> None:
    """Say of some rows that they were left out."""
    for entry in entries[:count]:
        entry.update(fate=fate, reason=reason)


def edit_summary(project: Any, rows_in: int, **policy: Any) -> None:
    """Claim another number of raw rows, or another policy."""
    path = project.prepared / "summary.json"
    summary = read_json(path)
    summary["rows"]["in"] = rows_in
    summary["policy"] |= policy
    write_json(path, summary)


def no_chinese_validation(project: Any) -> None:
    """Validate on English rows only, many enough that chance does not do it."""
    rows = list(read_jsonl(project.prepared / "train.jsonl"))
    moved = [row | {"row_id": f"r-{n}", "language": "en"} for n, row in enumerate(rows)]
    write_jsonl(project.prepared / "validation.jsonl", moved)


def test_good_rows_pass_and_two_runs_are_byte_identical(ready: Any) -> None:
    result, first = run(ready)
    assert result == {"expectations": 30, "met": 30, "warnings": [], "compared_with": None}
    _, second = run(ready, name="again")
    assert file_digests(first) == file_digests(second)
    report = read_json(first / "validation.json")
    assert report["success"] is True
    assert report["engine"]["name"] == "great_expectations"
    assert {found["name"]: found["observed"] for found in report["expectations"]}["train_rows"] == 12


@pytest.mark.slow
def test_data_docs_are_great_expectations_pages_that_need_no_network(ready: Any) -> None:
    _, output = run(ready)
    pages = {page.relative_to(output / "data_docs").as_posix(): page.read_text() for page in output.rglob("*.html")}
    suites = ("raw_files", "raw_formats", "rows", "rows_alpaca", "totals")
    assert {"index.html", *(f"expectations/{suite}.html" for suite in suites)} < set(pages)
    assert sum(name.startswith("validations/") for name in pages) == len(suites)
    for text in pages.values():
        assert not re.search(r"<(?:script|link|img)\b[^>]*//", text)
        assert "url(http" not in text
    assert "no_personal_data" in pages["expectations/rows.html"]
    for target in re.findall(r'href="([^"]+\.html)"', pages["index.html"]):
        assert target in pages
    for words in ("Nothing to compare with", "数据期望", "instructions/rows.jsonl"):
        assert words in pages["index.html"]


FAULTS: dict[str, Callable[[Any], None]] = {
    "row_ids_unique": lambda p: edit(p, lambda rows: rows[1].update(row_id=rows[0]["row_id"])),
    "types_unchanged": lambda p: edit(p, lambda rows: rows[0].update(concept=["sheltering"])),
    "no_empty_split": lambda p: edit_summary(p, 12, validation_fraction=0.5),
    "chinese_in_splits": lambda p: no_chinese_validation(p),
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
    "alpaca.no_tool_turns": lambda p: edit(p, use_tool),
    "too_long_fraction": lambda p: edit(p, lambda rows: refuse(rows, 3, "dropped", "too_long"), "ledger.jsonl"),
    "damaged_files": lambda p: edit(p, lambda rows: refuse(rows, 1, "quarantined", "damaged_file"), "ledger.jsonl"),
    "raw.reasons_known": lambda p: edit(p, lambda rows: refuse(rows, 1, "dropped", "a_whim"), "ledger.jsonl"),
    "chinese_fraction": lambda p: edit(p, lambda rows: [row.update(language="en") for row in rows[:9]]),
}


def judged(project: Any, name: str, params: ValidateParams = PARAMS) -> Outcome:
    """Run the one suite that holds this expectation, which is quicker than the stage, and return its outcome."""
    built = build_suites(read_prepared(project.prepared, project.raw), (), params)
    [suite] = [suite for suite in built if name in {rule.name for rule in suite.rules}]
    return next(found for found in run_suites([suite], project.root / "data_docs") if found.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_breaks_its_expectation(ready: Any, name: str) -> None:
    FAULTS[name](ready)
    found = judged(ready, name)
    assert (found.success, found.severity) == (False, "critical")


@pytest.mark.slow
@pytest.mark.parametrize("field", ["tools", "rejected"])
def test_personal_data_beside_the_turns_is_found(ready: Any, field: str) -> None:
    edit(ready, lambda rows: rows[0].update({field: f'["拨打{NUMBER}"]'}))
    assert judged(ready, "no_personal_data").observed == "1 of 12 rows"


@pytest.mark.parametrize("values", [{"language": None}, {"language": 5}, {"source": 7}, {"tools": {"name": "call"}}])
def test_a_field_of_another_type_is_no_crash_and_no_pass(ready: Any, values: dict[str, Any]) -> None:
    edit(ready, lambda rows: [row.update(values) for row in rows])
    assert judged(ready, "types_unchanged").observed == "12 of 12 rows"


def test_an_expectation_that_sees_only_nulls_is_broken(ready: Any) -> None:
    edit(ready, lambda rows: [row.update(language=None) for row in rows])
    found = judged(ready, "language_known")
    assert (found.success, found.observed) == (False, "nothing to look at")


@pytest.mark.slow
def test_an_empty_calibration_and_an_empty_ledger_are_seen(ready: Any) -> None:
    edit(ready, lambda rows: rows.clear(), "ledger.jsonl")
    assert not judged(ready, "raw.files_understood").success
    edit_summary(ready, 12, calibration_rows=8)
    assert judged(ready, "no_empty_split").success
    edit(ready, lambda rows: rows.clear(), "calibration.jsonl")
    assert not judged(ready, "no_empty_split").success


@pytest.mark.slow
def test_rows_that_masking_made_equal_are_two_rows(ready: Any, alpaca_row: Callable[..., dict[str, Any]]) -> None:
    mails = ("duty@example.org", "chief@example.org")
    ready.write("mail.jsonl", [alpaca_row("值班邮箱是什么？", f"邮箱为{one}，值班时有人看。") for one in mails])
    ready.prepare()
    assert ready.summary()["rows"]["kept"] == 14
    assert judged(ready, "no_duplicates").success


@pytest.mark.slow
def test_several_broken_expectations_are_one_refusal(ready: Any) -> None:
    names = ("no_empty_turn", "language_known", "ledger_balances")
    for name in names:
        FAULTS[name](ready)
    with pytest.raises(DataContractError) as broken:
        run(ready)
    assert broken.value.exit_code == 3
    assert all(f"critical {name}: " in broken.value.message for name in names)


@pytest.mark.slow
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
    found = judged(ready, name, with_values(**values))
    assert not found.success
    assert str(next(iter(values.values()))) in found.words


@pytest.mark.slow
def test_a_failure_shows_three_masked_rows_and_keeps_the_data_docs(ready: Any) -> None:
    edit(
        ready, lambda rows: [row["messages"][-1].update(content=f"拨打{NUMBER}，第{n}次") for n, row in enumerate(rows)]
    )
    with pytest.raises(DataContractError) as broken:
        run(ready)
    message = broken.value.message
    assert "no personal data is left in any turn; not so for 12 of 12 rows, threshold no exception" in message
    assert message.count("拨打[MOBILE]") == 3
    kept = ready.root / ".tunegate" / "failed" / "validation"
    assert str(kept / "data_docs" / "index.html") in message
    assert "no_personal_data" in (kept / "data_docs" / "index.html").read_text()
    assert read_json(kept / "validation.json")["success"] is False
    assert all(NUMBER not in path.read_text() for path in kept.rglob("*") if path.is_file())


@pytest.mark.slow
def test_warnings_are_reported_and_do_not_stop(ready: Any) -> None:
    edit(ready, lambda rows: answer(rows, "长" * 201))
    edit(ready, lambda rows: rows[1].update(concept=None))
    result, output = run(ready, with_values(max_turns=1))
    assert result["warnings"] == ["concept_named", "alpaca.answers_short_enough", "alpaca.turns"]
    report = {found["name"]: found for found in read_json(output / "validation.json")["expectations"]}
    assert report["alpaca.turns"]["success"] is False
    assert report["alpaca.turns"]["severity"] == "warning"
    assert report["alpaca.answers_short_enough"]["unexpected_rows"] == 1


@pytest.mark.slow
def test_a_format_has_thresholds_of_its_own(ready: Any) -> None:
    edit(ready, lambda rows: answer(rows, "长" * 201))
    result, _ = run(ready, with_values(formats={"alpaca": {"answer_characters": [2, 300], "max_turns": 1}}))
    assert result["warnings"] == ["alpaca.turns"]


@pytest.mark.slow
def test_a_severity_is_set_by_name(ready: Any) -> None:
    edit(ready, lambda rows: rows[1].update(concept=None))
    with pytest.raises(DataContractError, match="critical concept_named"):
        run(ready, with_values(severities={"concept_named": "critical"}))
    edit(ready, lambda rows: rows.pop())
    result, _ = run(ready, with_values(severities={"kept_rows_written": "warning"}), "again")
    assert result["warnings"] == ["concept_named", "kept_rows_written"]


def test_a_severity_of_no_expectation_is_an_error(ready: Any) -> None:
    with pytest.raises(ConfigError, match="no expectation is called no_such") as wrong:
        run(ready, with_values(severities={"no_such": "critical"}))
    assert "concept_named" in (wrong.value.hint or "")


@pytest.mark.slow
def test_raw_files_are_judged_by_file_and_format(ready: Any) -> None:
    ready.write("scrap.jsonl", ["不是JSON", '{"instruction": "问", "output": ""}'])
    ready.prepare()
    result, output = run(ready)
    assert result["warnings"] == ["raw.files_understood"]
    report = read_json(output / "validation.json")
    understood = next(found for found in report["expectations"] if found["name"] == "raw.files_understood")
    assert understood["observed"] == "1 of 2 files"
    assert understood["examples"] == ["instructions/scrap.jsonl"]
    files = {line["source"]: line for line in report["raw"]["files"]}
    assert files["instructions/rows.jsonl"]["kept"] == 12
    assert files["instructions/scrap.jsonl"]["quarantined"] == 2
    assert files["instructions/scrap.jsonl"]["why_quarantined"] == "1 empty_turn, 1 malformed_json"
    assert {line["reason"]: line["rows"] for line in report["raw"]["reasons"]} == {"empty_turn": 1, "malformed_json": 1}


@pytest.mark.slow
def test_every_format_has_its_suite(ready: Any) -> None:
    turns = [{"role": "user", "content": "铯的衰变方式是什么？"}, {"role": "assistant", "content": "贝塔衰变。"}]
    ready.write("messages.jsonl", [{"messages": turns}])
    pair = {"prompt": "烟羽应急计划区有多大？", "chosen": "由厂址评估确定。", "rejected": "不知道。"}
    ready.write("preference.jsonl", [pair])
    ready.prepare()
    _, output = run(ready)
    names = {found["name"] for found in read_json(output / "validation.json")["expectations"]}
    assert {"alpaca.no_tool_turns", "messages.tools_declared", "preference.rejected_kept"} < names
    assert not any(name.startswith("sharegpt") for name in names)
    edit(ready, lambda rows: [row.pop("rejected", None) for row in rows])
    with pytest.raises(DataContractError, match=r"critical preference\.rejected_kept: "):
        run(ready, name="again")


@pytest.mark.slow
def test_personal_data_under_keep_or_a_pseudonym_is_none(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEGATE_PSEUDONYM_KEY", "ab" * 32)
    row = {"instruction": "厂里的联系方式是什么？", "output": f"手机{NUMBER}，邮箱duty@example.org，值班时有人接听。"}
    ready.write("contact.jsonl", [row])
    policies = ready.params.privacy.policies.model_dump() | {"mobile": "pseudonymize", "email": "keep"}
    prepare = ready.params.model_dump(mode="json")
    prepare["privacy"]["policies"] = policies
    ready.prepare(type(ready.params).model_validate(prepare))
    monkeypatch.delenv("TUNEGATE_PSEUDONYM_KEY")
    texts = [row["messages"][-1]["content"] for row in ready.lines("train.jsonl")]
    assert any("[MOBILE:" in text and "duty@example.org" in text for text in texts)
    result, _ = run(ready)
    assert result["met"] == result["expectations"] - len(result["warnings"])


@pytest.mark.slow
def test_drift_from_the_last_released_dataset_is_a_warning_that_names_what_moved(ready: Any) -> None:
    write_manifest(ready.prepared, {"lineage_id": "tg-0123456789abcdef"})
    write_profile(ready.prepared, ready.raw / "reference/profile.json")
    drift = {"reference": "reference/profile.json", "max_stability_index": 0.2}
    result, _ = run(ready, with_values(drift=drift))
    assert (result["warnings"], result["compared_with"]) == ([], drift["reference"])
    edit(ready, lambda rows: [row.update(language="en", source="instructions/other.jsonl") for row in rows[3:]])
    with pytest.raises(DataContractError, match=r"critical drift\.languages"):
        run(ready, with_values(drift=drift, min_chinese_fraction=0.1, severities={"drift.languages": "critical"}), "b")
    result, output = run(ready, with_values(drift=drift, min_chinese_fraction=0.1), "c")
    assert result["warnings"] == ["drift.languages", "drift.sources"]
    found = read_json(output / "validation.json")["drift"]
    assert found["lineage_id"] == "tg-0123456789abcdef"
    assert found["words"].endswith("(12 rows): moved: languages, sources.")
    index = (output / "data_docs/index.html").read_text()
    assert "instructions/rows.jsonl: 100.0 % to 25.0 %" in index


@pytest.mark.slow
def test_results_do_not_depend_on_chunks_or_processes(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(ready, lambda rows: answer(rows, "长" * 201))
    _, whole = run(ready)
    monkeypatch.setattr("tasks.data.expectations.columns.CHUNK_BYTES", 700)
    monkeypatch.setenv("TUNEGATE_DATA_PROCESSES", "2")
    _, pieces = run(ready, name="again")
    assert file_digests(whole) == file_digests(pieces)


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


@pytest.mark.slow
def test_only_the_lines_reported_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Great Expectations alone looks 500 rows up one by one to report 20; what is reported is the same."""
    import pandas as pd
    from great_expectations.expectations.metrics.map_metric_provider import map_condition_auxilliary_methods as methods

    frame = pd.DataFrame({"row_id": [f"r-{n}" for n in range(500)], "concept": pd.Categorical([None] * 500)})
    suite = Suite("rows", frame, [rule for rule in row_rules() if rule.name == "concept_named"], "row_id")
    look_up, looked_up = methods.compute_unexpected_pandas_indices, list[int]()

    def counted(**arguments: Any) -> Any:
        looked_up.append(len(arguments["domain_records_df"]))
        return look_up(**arguments)

    monkeypatch.setattr(methods, "compute_unexpected_pandas_indices", counted)
    few = run_suites([suite], tmp_path / "few")
    monkeypatch.setattr(suites, "_only_reported_lines_named", nullcontext)
    assert run_suites([suite], tmp_path / "all") == few
    assert looked_up == [20, 500]
