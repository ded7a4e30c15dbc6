"""Stage prepare on small projects: every file it promises, and every refusal."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tasks.core.digest import file_digests
from tasks.core.errors import DataContractError
from tasks.core.settings import PrepareParams
from tasks.data.reading.raw import read_chunks

Alpaca = Callable[..., dict[str, Any]]


def changed(params: PrepareParams, **values: Any) -> PrepareParams:
    return params.model_copy(update=values)


@pytest.fixture
def filled(project: Any, alpaca_row: Alpaca) -> Any:
    """A project with good rows and one of each kind of bad one."""
    good = [
        alpaca_row(f"第{n}号站点的巡测怎么做？{'步' * n}", f"先测本底，再测{n}个点并记录。" + "核" * n)
        for n in range(1, 9)
    ]
    english = [
        alpaca_row(
            "When is sheltering ended?", "When the authorities say so, normally within two days.", concept="sheltering"
        ),
        alpaca_row("What does INES rate?", "The safety significance of an event, on a scale from 0 to 7."),
    ]
    personal = alpaca_row("找谁报告？", "拨打值班手机13800138000，或发邮件到duty@example.com。")
    leak = alpaca_row("【题】铯－１３７的半衰期是多少年？", "约30年。")
    bad = ['{"instruction": "没有结尾', alpaca_row("空回答？", ""), leak, dict(good[0]), personal]
    project.write("rows.jsonl", [*good, *english, *bad])
    return project


def test_every_file_and_count(filled: Any) -> None:
    result = filled.prepare()
    summary = filled.summary()
    assert result["rows"] == summary["rows"] == {"in": 15, "kept": 11, "dropped": 2, "quarantined": 2}
    assert summary["reasons"]["dropped"] == {"eval_leak": 1, "exact_duplicate": 1}
    assert summary["reasons"]["quarantined"] == {"empty_turn": 1, "malformed_json": 1}
    assert summary["masks"]["mobile"] == summary["masks"]["email"] == 1
    assert summary["leaks"]["domain_short"] == {"items": 1, "unsearchable": 0, "leaked_items": 1, "leaked_rows": 1}
    assert set(summary["leaks"]) == {"ceval_mini", "domain_choice", "domain_short", "safety"}
    assert summary["languages"] == {"zh": 9, "en": 2}
    assert summary["splits"] == {"train": 11, "validation": 0, "calibration": 4}
    assert len(filled.lines("clusters.jsonl")) == len(filled.lines("leaks.jsonl")) == 1


def test_rows_are_as_the_contract_says(filled: Any) -> None:
    filled.prepare()
    for row in filled.lines("train.jsonl"):
        assert set(row) == {"row_id", "source", "language", "concept", "messages"}
        assert row["source"] == "instructions/rows.jsonl"
        assert row["messages"][-1]["role"] == "assistant"
    train = {row["row_id"]: row for row in filled.lines("train.jsonl")}
    assert {row["language"] for row in filled.lines("calibration.jsonl")} == {"zh", "en"}
    assert all(train[row["row_id"]] == row for row in filled.lines("calibration.jsonl"))


@pytest.mark.slow
def test_ledger_evidence_leads_to_the_cause_and_holds_no_personal_data(filled: Any) -> None:
    filled.prepare()
    ledger = {(entry["fate"], entry["reason"]): entry for entry in filled.lines("ledger.jsonl")}
    assert [entry["index"] for entry in filled.lines("ledger.jsonl")] == list(range(15))
    masked = ledger["kept", "personal_data_replaced"]["evidence"]
    assert masked["masks"] == {"mobile": 1, "email": 1}
    assert ledger["quarantined", "malformed_json"]["evidence"]["line"] == 11
    assert ledger["dropped", "eval_leak"]["evidence"]["item_id"] == "short-1"
    kept = {entry["row_id"] for entry in filled.lines("ledger.jsonl") if entry["fate"] == "kept"}
    assert ledger["dropped", "exact_duplicate"]["evidence"]["duplicate_of"] in kept
    for path in filled.prepared.iterdir():
        content = path.read_text(encoding="utf-8")
        assert "13800138000" not in content
        assert "duty@example.com" not in content


def test_two_runs_are_byte_identical(filled: Any) -> None:
    filled.prepare()
    first = file_digests(filled.prepared)
    filled.prepare()
    assert file_digests(filled.prepared) == first


@pytest.mark.parametrize(("chunk_bytes", "processes"), [(1, 1), (300, 1), pytest.param(300, 2, marks=pytest.mark.slow)])
def test_neither_chunks_nor_processes_change_a_byte(
    filled: Any, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, processes: int
) -> None:
    filled.prepare()
    whole = file_digests(filled.prepared)
    monkeypatch.setattr("tasks.data.prepare.read_chunks", partial(read_chunks, chunk_bytes=chunk_bytes))
    monkeypatch.setenv("TUNEGATE_DATA_PROCESSES", str(processes))
    filled.prepare()
    assert file_digests(filled.prepared) == whole


def test_nothing_is_left_between_the_passes(filled: Any) -> None:
    filled.prepare()
    assert not list((filled.root / "scratch").iterdir())


def test_personal_data_leaves_tools_and_rejected_answers_too(project: Any) -> None:
    chat = [{"from": "human", "value": "呼叫值班。"}, {"from": "gpt", "value": "已呼叫。"}]
    tools = [{"name": "call", "description": "号码13800138000"}]
    project.write("tools.jsonl", [{"conversations": chat, "tools": json.dumps(tools, ensure_ascii=False)}])
    number = [{"name": "call", "number": 13800138000}]
    project.write("number.jsonl", [{"conversations": chat, "tools": json.dumps(number)}])
    project.write("pairs.jsonl", [{"prompt": "找谁？", "chosen": "找值班员。", "rejected": "打13800138000找他。"}])
    project.prepare()
    rows = {row["source"][13:]: row for row in project.lines("train.jsonl")}
    assert json.loads(rows["tools.jsonl"]["tools"])[0]["description"] == "号码[MOBILE]"
    assert rows["pairs.jsonl"]["rejected"] == "打[MOBILE]找他。"
    assert [e["reason"] for e in project.lines("ledger.jsonl") if "number" in e["source"]] == ["malformed_tool_call"]


def test_rows_training_would_cut_are_dropped_with_their_tokens(project: Any, alpaca_row: Alpaca) -> None:
    project.write("rows.jsonl", [alpaca_row("短问题？", "短回答。"), alpaca_row("长问题？", "很长的回答。" * 60)])
    project.prepare(max_length_tokens=128)
    kept, dropped = project.lines("ledger.jsonl")
    assert (kept["fate"], dropped["fate"], dropped["reason"]) == ("kept", "dropped", "too_long")
    assert dropped["evidence"]["tokens"] > 128
    assert project.summary()["tokens"]["too_long"] == 1


def test_rows_that_differ_in_a_name_are_two_and_no_name_is_kept(project: Any, alpaca_row: Alpaca) -> None:
    answer = (
        "邮箱是{}@example.org，值班时间为每天八点到二十点，其他时间请拨打总机，由总机转接到有关人员，并记录来电内容。"
    )
    project.write(
        "rows.jsonl", [alpaca_row("值班邮箱是什么？", answer.format(name)) for name in ("duty", "chief", "duty")]
    )
    project.prepare()
    assert [entry["reason"] for entry in project.lines("ledger.jsonl")].count("exact_duplicate") == 1
    train = project.lines("train.jsonl")
    assert len(train) == 2
    assert train[0]["messages"] == train[1]["messages"]
    for path in (project.root / "scratch", project.prepared):
        assert not any(b"chief" in one.read_bytes() for one in path.rglob("*") if one.is_file())


def test_records_under_one_instruction_are_not_one_row(project: Any, alpaca_row: Alpaca) -> None:
    rule = (
        "你是值班日志分类员，请判断下面的记录属于正常、异常还是紧急，只输出类别名称，不要解释原因，不要重复题目。" * 3
    )
    labels = ("正常", "异常", "紧急")
    project.write("rows.jsonl", [alpaca_row(f"{rule}记录：{n}号探头读数{n * 7}。", labels[n % 3]) for n in range(40)])
    project.prepare()
    assert project.summary()["rows"]["kept"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["鈽钚", "鎝锝", "鋂镅", "矽硅", "鑀锿", "鉲锎", "鎦镥", "砈砹"])
def test_one_element_under_two_names_is_one_row(project: Any, alpaca_row: Alpaca, pair: str) -> None:
    project.write(
        "rows.jsonl", [alpaca_row(f"{name}的剂量系数怎么查？", f"查{name}的吸入剂量系数表。") for name in pair]
    )
    project.prepare()
    assert project.summary()["reasons"]["dropped"] == {"exact_duplicate": 1}


def test_a_near_duplicate_takes_its_copies_along(project: Any, alpaca_row: Alpaca) -> None:
    text = "启动应急响应后应按程序通知场外应急组织并持续监测环境剂量率，记录每一次读数和时间，直到指挥部宣布终止。"
    near = alpaca_row("怎么通知？", text)
    project.write("rows.jsonl", [near, near, alpaca_row("怎么通知？", text + "以上。")])
    project.prepare()
    entries = project.lines("ledger.jsonl")
    assert entries[0]["evidence"]["difference"] == [{"turn": "2a", "row": "", "kept": "以上"}]
    assert [entry["reason"] for entry in entries] == ["near_duplicate", "near_duplicate", "clean"]
    assert {entry["evidence"]["duplicate_of"] for entry in entries[:2]} == {entries[2]["row_id"]}
    assert project.summary()["cluster_sizes"] == {"3": 1}


def test_adding_rows_moves_no_row(filled: Any, alpaca_row: Alpaca) -> None:
    params = changed(filled.params, validation_fraction=0.4)
    filled.prepare(params)
    before = {row["row_id"]: name for name in ("train", "validation") for row in filled.lines(f"{name}.jsonl")}
    assert set(before.values()) == {"train", "validation"}
    filled.write("more.jsonl", [alpaca_row(f"新增问题{n}：{'问' * n}", "新增回答" + "答" * n) for n in range(20)])
    filled.prepare(params)
    after = {row["row_id"]: name for name in ("train", "validation") for row in filled.lines(f"{name}.jsonl")}
    assert before.items() <= after.items()


def test_types_not_asked_for_stay(filled: Any) -> None:
    policies = filled.params.privacy.policies.model_copy(update={"mobile": "keep"})
    filled.prepare(changed(filled.params, privacy=filled.params.privacy.model_copy(update={"policies": policies})))
    assert any("13800138000" in json.dumps(row, ensure_ascii=False) for row in filled.lines("train.jsonl"))


def test_stop_names_file_and_line_of_the_first_bad_row(filled: Any) -> None:
    with pytest.raises(DataContractError, match=r"rows\.jsonl:11: malformed_json") as stopped:
        filled.prepare(changed(filled.params, read=filled.params.read.model_copy(update={"on_bad_row": "stop"})))
    assert stopped.value.exit_code == 3
    assert "quarantine" in stopped.value.hint


def test_json_arrays_byte_order_marks_and_wrong_bytes(project: Any, alpaca_row: Alpaca) -> None:
    folder = project.raw / "instructions"
    folder.mkdir()
    rows = [alpaca_row("隐蔽是什么？", "进屋关窗。"), "不是对象"]
    (folder / "array.json").write_text("\ufeff" + json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    wide = json.dumps(alpaca_row("撤离是什么？", "有序离开危险区。"), ensure_ascii=False)
    (folder / "lines.jsonl").write_bytes(b"\xef\xbb\xbf" + wide.encode() + b"\n\n" + wide.encode("gb18030") + b"\n")
    project.prepare()
    fates = [(entry["source"][13:], entry["index"], entry["reason"]) for entry in project.lines("ledger.jsonl")]
    assert fates == [
        ("array.json", 0, "clean"),
        ("array.json", 1, "not_an_object"),
        ("lines.jsonl", 0, "clean"),
        ("lines.jsonl", 1, "malformed_encoding"),
    ]
    assert project.lines("ledger.jsonl")[3]["evidence"]["line"] == 3


@pytest.mark.slow
def test_files_joined_end_to_end_lose_no_line(project: Any, alpaca_row: Alpaca) -> None:
    mark = b"\xef\xbb\xbf"
    first, second = (json.dumps(alpaca_row(question, "进屋关窗。")).encode() for question in ("隐蔽？", "如何隐蔽？"))
    folder = project.raw / "instructions"
    folder.mkdir()
    (folder / "joined.jsonl").write_bytes(b"\n".join([mark + first, mark + second, mark, b""]))
    project.prepare()
    ledger = project.lines("ledger.jsonl")
    assert [entry["reason"] for entry in ledger] == ["clean", "clean", "malformed_json"]
    assert ledger[2]["evidence"]["line"] == 3


def test_a_damaged_file_stops_or_is_one_row_as_the_settings_say(project: Any, alpaca_row: Alpaca) -> None:
    project.write("rows.jsonl", [alpaca_row("隐蔽是什么？", "进屋关窗。")])
    project.write(
        "damaged.json", ["[" + json.dumps(alpaca_row("撤离是什么？", "有序离开危险区。")) + ', {"instruction"']
    )
    with pytest.raises(DataContractError, match=r"damaged\.json:\d+: the array ends early"):
        project.prepare()
    project.prepare(changed(project.params, read=project.params.read.model_copy(update={"on_bad_file": "quarantine"})))
    reasons = [entry["reason"] for entry in project.lines("ledger.jsonl")]
    assert reasons == ["clean", "damaged_file", "clean"]


@pytest.mark.parametrize("rows", [[], ['{"instruction": "只有问题"}'], ["不是JSON"]])
def test_nothing_to_train_on_is_an_error_that_says_why(project: Any, rows: list[str]) -> None:
    project.write("rows.jsonl", rows)
    with pytest.raises(DataContractError, match="no row to train on") as refused:
        project.prepare()
    assert refused.value.exit_code == 3


def test_no_instruction_file_is_an_error(project: Any) -> None:
    with pytest.raises(DataContractError, match=r"holds no \*\.jsonl"):
        project.prepare()


def test_a_missing_or_broken_evaluation_set_is_an_error(filled: Any) -> None:
    short = filled.raw / "eval/domain/short.jsonl"
    content = short.read_text()
    short.write_text('{"id": "x"}\n')
    with pytest.raises(DataContractError, match=r"short\.jsonl:1 has no `question`"):
        filled.prepare()
    short.unlink()
    with pytest.raises(DataContractError, match=r"short\.jsonl, named in pack\.json, does not exist"):
        filled.prepare()
    short.write_text(content)
    for table in (filled.raw / "eval/ceval_mini").rglob("*.csv"):
        table.unlink()
    with pytest.raises(DataContractError, match="holds no evaluation item"):
        filled.prepare()


def test_of_two_copies_the_one_with_marks_is_kept(project: Any) -> None:
    def row(**marks: Any) -> dict[str, Any]:
        said = [
            ("user", "广播说马上走？"),
            ("assistant", "先回家收拾。"),
            ("user", "再想想。"),
            ("assistant", "立即按路线走。"),
        ]
        turns = [{"role": role, "content": text} for role, text in said]
        return {"messages": [*turns[:1], turns[1] | marks, *turns[2:]]}

    for number, rows in enumerate(([row(), row(weight=0)], [row(weight=0), row()])):
        project.write("rows.jsonl", rows)
        project.prepare()
        assert [kept["untaught"] for kept in project.lines("train.jsonl")] == [[1]], number
