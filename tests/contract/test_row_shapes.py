"""From a file to the tokens that are taught: the shapes people have, through stage prepare and the training encoder."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.chat.labels import taught
from tasks.chat.rows import encode_rows
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.settings import FileParams
from tasks.data.ledger.questions import latest_run
from tasks.data.preview import BEGIN, END, preview
from tests.unit.data.conftest import PREPARE, base, build_project, new_project, project

__all__ = ["base", "new_project", "project"]

Q, Q2 = "潮汐表在哪儿看？", "柴油机不启动怎么办？"
#: Long enough, and so unlike each other, that no rule takes two files' rows for one.
ANSWERS = {
    "messages": "集合点改到体育馆北门，按楼栋分批走。",
    "sharegpt": "应急柴油机先查燃油和蓄电池，再按规程启动备用机。",
    "swift": "潮汐表贴在值班室墙上，每月一日更换。",
    "xtuner": "呼吸面罩密合性要用负压法检查，漏气就换号。",
    "qa": "学校由教育部门按预案通知，不要自行接送。",
    "completion": "牛奶样品每两小时取一次，冷藏送检。",
    "cot": "发现读数翻倍时先复测，再换一台仪器比对。",
    "bare": "广播车路线由街道办排定，三十分钟走一遍。",
    "parts": "撤离巴士在东门上客，老人和孕妇先上。",
    "calls": "三号测点剂量率为每小时零点一一微希。",
    "table": "饮用水改由消防车配送，桶要盖严。",
    "mapped": "热线只登记诉求，不解释剂量。",
    "array": "去污先脱外衣，再用温水冲洗。",
    "json": "007号样品封存在铅罐里，双人双锁。",
    "parallel": "停电时先开手摇收音机，听省台。",
}
CALL = [{"id": "c1", "function": {"name": "read_dose", "arguments": {"station": "3", "city": None}}}]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def turns(answer: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"{Q2}（{answer[:3]}）"}, {"role": "assistant", "content": answer, **more}]


def table(answer: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["编号", "问题", "答案"], delimiter=";")
    writer.writeheader()
    writer.writerow({"编号": "007", "问题": "水从哪里来？", "答案": answer})
    return text.getvalue().encode()


def json_column(answer: str) -> bytes:
    said = [json.dumps("样品放在哪里？", ensure_ascii=False)], [json.dumps(answer, ensure_ascii=False)]
    columns = {"instruction": pa.array(said[0], pa.json_()), "output": pa.array(said[1], pa.json_())}
    stream = io.BytesIO()
    pq.write_table(pa.table({**columns, "number": pa.array(["007"], pa.json_())}), stream)
    return stream.getvalue()


A = ANSWERS
MARKED = [*turns("先回家收拾好再走，不差一会儿。", weight=0), *turns(A["messages"], weight=1)]
CALLED = [
    {"role": "user", "content": "三号测点？"},
    {"role": "assistant", "content": None, "tool_calls": CALL},
    {"role": "tool", "tool_call_id": "c1", "content": "0.11 μSv/h"},
    {"role": "assistant", "content": A["calls"]},
]
WRITTEN = '<tool_call>\n{"name": "read_dose", "arguments": {"station": "3"}}\n</tool_call>'
THOUGHT = "仪器也会坏，先排除它。"
#: File -> content, and what of it is taught.
FILES: dict[str, tuple[bytes, list[str]]] = {
    "messages.jsonl": (lines({"messages": MARKED}), [A["messages"]]),
    "sharegpt.json": (
        lines({"conversations": [{"from": "human", "value": Q2}, {"from": "gpt", "value": A["sharegpt"]},
                                 {"from": "human", "value": "谢谢！"}]}),
        [A["sharegpt"]],
    ),
    "swift.jsonl": (
        lines({"query": Q, "response": A["swift"], "history": [["在吗？", "我在值班室。"]]}),
        ["我在值班室。", A["swift"]],
    ),
    "xtuner.json": (
        json.dumps([{"conversation": [{"system": "教官", "input": "面罩怎么查？", "output": A["xtuner"]}]}]).encode(),
        [A["xtuner"]],
    ),
    "qa.jsonl": (lines({"question": "谁通知学校？", "answer": A["qa"]}), [A["qa"]]),
    "completion.jsonl": (
        lines({"prompt": [{"role": "user", "content": "牛奶怎么取样？"}],
               "completion": [{"role": "assistant", "content": A["completion"]}]}),
        [A["completion"]],
    ),
    "cot.jsonl": (
        lines({"Question": "读数翻倍怎么办？", "Complex_CoT": THOUGHT, "Response": A["cot"]}),
        [f"<think>\n{THOUGHT}\n</think>\n\n{A['cot']}"],
    ),
    "bare.jsonl": (lines(turns(A["bare"]), turns(f"{A['bare']}遇雨改走小路，由民兵敲锣补喊。")),
                   [A["bare"], f"{A['bare']}遇雨改走小路，由民兵敲锣补喊。"]),
    "parts.jsonl": (
        lines({"messages": [{"role": "user", "content": [{"type": "text", "text": "巴士在哪里？"}]},
                            {"role": "assistant", "content": [{"type": "text", "text": A["parts"]}]}]}),
        [A["parts"]],
    ),
    "calls.jsonl": (lines({"conversations": CALLED}), [WRITTEN, A["calls"]]),
    "table.csv": (table(A["table"]), [A["table"]]),
    "mapped.jsonl": (lines({"来电": "热线说什么？", "回话": A["mapped"], "label": 0}), [A["mapped"]]),
    "array.jsonl": (json.dumps([{"instruction": "怎么去污？", "output": A["array"]}], indent=1).encode(), [A["array"]]),
    "json.parquet": (json_column(A["json"]), [A["json"]]),
    "parallel.jsonl": (
        lines({"conversations": {"from": ["human", "gpt"], "value": ["停电了？", A["parallel"]]}}), [A["parallel"]]
    ),
}  # fmt: skip
BAD: dict[str, tuple[Any, str]] = {
    "bad.jsonl": ({"instruction": "能自己吃碘片吗？", "output": "多吃几片更保险。", "kto_tag": False}, "marked_bad"),
    "picture.jsonl": ({"messages": turns("表盘读数为零点三五。"), "image": "meters/0007.jpg"}, "media"),
}
MAPPED = FileParams(columns={"instruction": "来电", "output": "回话", "label": None})
PARAMS = PREPARE.model_copy(
    update={"read": PREPARE.read.model_copy(update={"files": {"instructions/mapped.jsonl": MAPPED}})}
)


@pytest.fixture(scope="module")
def filled(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project with a file of every shape, prepared once."""
    made = build_project(tmp_path_factory.mktemp("shapes"), base)
    folder = made.raw / "instructions"
    folder.mkdir(parents=True)
    for name, (content, _) in FILES.items():
        (folder / name).write_bytes(content)
    for name, (row, _) in BAD.items():
        (folder / name).write_bytes(lines(row))
    made.prepare(PARAMS)
    return made


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def test_every_shape_teaches_its_answers_and_nothing_else(filled: Any, tokenizer: Any) -> None:
    path = filled.prepared / "train.jsonl"
    sources = {row["row_id"]: Path(row["source"]).name for row in read_jsonl(path)}
    found: dict[str, list[str]] = {}
    for row in encode_rows(path, tokenizer, 512).rows:
        runs = [run.text for run in taught(row.input_ids, row.labels, tokenizer)]
        found[sources[row.row_id]] = found.get(sources[row.row_id], []) + runs
    assert found == {name: said for name, (_, said) in FILES.items()}


def test_what_must_not_be_learnt_is_in_the_ledger_by_name(filled: Any) -> None:
    entries = {Path(entry["source"]).name: entry for entry in filled.lines("ledger.jsonl")}
    assert {name: entries[name]["reason"] for name in BAD} == {name: reason for name, (_, reason) in BAD.items()}
    assert entries["messages.jsonl"]["evidence"]["notes"] == ["no loss on turn 2: marked not to be learnt"]
    assert entries["sharegpt.json"]["evidence"]["notes"] == ["the user's last turn has no answer and is left out"]
    assert "1 rows have answers marked not to be learnt: they carry no loss" in filled.summary()["notes"]


@pytest.mark.parametrize("name", ["messages.jsonl", "calls.jsonl", "json.parquet", "mapped.jsonl", "picture.jsonl"])
def test_a_preview_shows_the_text_with_the_taught_part_marked(filled: Any, tokenizer: Any, name: str) -> None:
    shown = preview(filled.raw / "instructions" / name, filled.raw, PARAMS, tokenizer, 512, None, 5)
    if name in BAD:
        assert shown[0]["refused"].startswith(BAD[name][1])
        return
    parts = [part.partition(END)[0] for row in shown for part in row["text"].split(BEGIN)[1:]]
    assert parts == [f"{said}<|im_end|>" for said in FILES[name][1]]
    assert shown[0]["text"].replace(BEGIN, "").replace(END, "").startswith("<|im_start|>system")


def test_personal_data_is_masked_in_a_preview_and_named(filled: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"question": "打给谁？", "answer": "打13800138000。"}))
    (shown,) = preview(tmp_path / "a.jsonl", filled.raw, PARAMS, tokenizer, 512, None, 5)
    assert shown["masked"] == {"mobile in turn 2": 1}
    assert "138" not in json.dumps(shown)
    with pytest.raises(ConfigError, match="no JSON"):
        preview(tmp_path / "a.txt", filled.raw, PARAMS, tokenizer, 512, None, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "limit", "hint"),
    [
        ({"提问内容": Q, "专家答复": Q2}, 512, "columns: {instruction: 提问内容, output: 专家答复}"),
        ({"instruction": Q, "output": "很长的回答。" * 30}, 64, "of these rows 1 fit in 512"),
        ({"instruction": Q, "output": Q2, "images": ["a.jpg"]}, 512, "without images"),
    ],
)
def test_a_run_that_keeps_nothing_leaves_its_ledger_and_says_what_helps(
    project: Any, row: Any, limit: int, hint: str
) -> None:
    project.write("a.jsonl", [row])
    with pytest.raises(DataContractError) as refused:
        project.prepare(max_length_tokens=limit)
    assert hint in refused.value.hint
    kept = project.root / ".tunegate/failed/prepare"
    assert [entry["line"] for entry in read_jsonl(kept / "ledger.jsonl")] == [1]
    assert read_json(kept / "summary.json")["rows"]["in"] == 1
    assert latest_run(project.prepared, kept.parents[1]) == kept
    project.write("b.jsonl", [{"instruction": Q, "output": Q2}])
    project.prepare()
    assert latest_run(project.prepared, kept.parents[1]) == project.prepared


def test_a_mapped_column_that_is_not_there_is_refused_before_anything_runs(project: Any) -> None:
    project.write("mapped.jsonl", [{"来电": Q, "答复": Q2}])
    with pytest.raises(ConfigError, match="has no column 回话") as refused:
        project.prepare(PARAMS)
    assert "来电" in refused.value.hint
