"""Rows leave in every format and container, and come back as the same chats."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json, write_jsonl
from tasks.core.settings import ReadParams
from tasks.data.reading.formats import Parsed, parse
from tasks.data.reading.raw import read_chunks, rows_of
from tasks.data.reading.text_damage import is_mojibake
from tasks.data.writing.export import CONTAINERS, export
from tasks.data.writing.rows_out import MARKS, WRITERS

READ = ReadParams(on_bad_row="quarantine", on_bad_file="stop", max_row_mib=8, repair_mojibake=True, files={})
TOOLS = '[{"name": "wind"}]'
THOUGHT = "First read the sentence, then put every word of it into English, then check it once more."
CALL = '<tool_call>\n{"name": "wind", "arguments": {"height_m": 10}}\n</tool_call>'
ANSWER = "接到通知后服用，\n“最好”在照射开始前24 h内，见 a,b;c。"


def prepared_row(number: int, *turns: str, system: str = "", language: str = "zh", **fields: Any) -> dict[str, Any]:
    """Return a prepared row; turns are user, assistant and so on, or `tool` where they begin so."""
    messages = [{"role": "system", "content": system}] if system else []
    for text in turns:
        last = messages[-1]["role"] if messages else "system"
        role = "tool" if text.startswith("tool:") else "user" if last in ("system", "assistant") else "assistant"
        messages.append({"role": role, "content": text.removeprefix("tool:")})
    row = {"row_id": f"r-{number}", "source": "instructions/a.jsonl", "language": language, "concept": None}
    return {**row, "messages": messages, **fields}


ROWS = [
    prepared_row(1, "碘片什么时候服用？", ANSWER, system="你是值班助手。", concept="iodine"),
    prepared_row(2, "在吗？", "在。", "碘片什么时候\r\n服用？", f"<think>\n先看时间。\n</think>\n\n{ANSWER}"),
    prepared_row(3, "Where is the wind from?", CALL, "tool:3 m/s", "The north.", language="en", tools=TOOLS),
    prepared_row(4, "风和雨？", f"{CALL}\n{CALL}", "tool:3 m/s", "tool:0 mm", "北风，无雨。", tools=TOOLS),
    prepared_row(5, "像调用的文字？", "<tool_call>\n不是JSON\n</tool_call>"),
    prepared_row(6, "先说后调用？", f"我查一下。\n{CALL}", "tool:3 m/s", f"<think>\n风小。\n</think>\n\n{ANSWER}"),
    prepared_row(7, "哪个好？", ANSWER, rejected="不知道。"),
    prepared_row(9, "在吗？", "不在。", "碘片什么时候服用？", ANSWER, system="助手", untaught=[2]),
    prepared_row(8, "翻成英文再回答。", f"<think>\n{THOUGHT}\n</think>\n\n好的，完成。", language="en"),
]
ROOM = {"alpaca": {1, 2, 5, 7, 8}, "preference": {7}}


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared folder with rows of every shape in train, one in validation."""
    write_jsonl(tmp_path / "prepared/train.jsonl", ROWS)
    write_jsonl(tmp_path / "prepared/validation.jsonl", ROWS[6:7])
    return tmp_path / "prepared"


def facts(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must come back beside the messages."""
    return row["language"], row["concept"], row.get("tools"), row.get("rejected"), tuple(row.get("untaught", ()))


def read_back(folder: Path, name: str) -> Iterator[tuple[str, Parsed]]:
    """Yield the id and the chat of every row in a file, read as raw data."""
    instructions = folder.parent / "raw/instructions"
    instructions.mkdir(parents=True)
    (folder / name).rename(instructions / name)
    for chunk in read_chunks(instructions.parent, READ):
        for row in rows_of(chunk, READ):
            assert row.problem is None
            yield row.value["row_id"], parse(row.value)


@pytest.mark.parametrize("format", list(WRITERS))
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("gzip", [False, True])
def test_rows_come_back(prepared: Path, tmp_path: Path, format: str, container: str, gzip: bool) -> None:
    result = export(prepared, tmp_path / "out", format, container, gzip)
    expected = {row["row_id"]: row for row in ROWS if int(row["row_id"][2:]) in ROOM.get(format, range(10))}
    assert result["rows"] == {"train": len(expected), "validation": 1}
    assert result["left_out"] == {"train": len(ROWS) - len(expected), "validation": 0}
    assert sum(result["no_room_for"].values()) == sum(result["left_out"].values())
    assert result["lost"] == {"source": len(expected) + 1}
    back = dict(read_back(tmp_path / "out", result["files"]["train"]))
    assert set(back) == set(expected)
    for name, parsed in back.items():
        row = expected[name]
        assert list(parsed.messages) == row["messages"]
        assert (parsed.language, parsed.concept, parsed.tools, parsed.rejected, parsed.untaught) == facts(row)


def test_what_a_format_has_no_room_for_is_named_with_its_rows(prepared: Path, tmp_path: Path) -> None:
    def named(format: str) -> Any:
        return export(prepared, tmp_path / format, format, "jsonl", gzip=False)["no_room_for"]

    assert named("alpaca") == {"results of tools": 3, MARKS: 1}
    assert named("preference") == {"rows without a rejected answer": len(ROWS) - 1}
    assert named("messages") == named("sharegpt") == named("multilingual_thinking") == {}


def test_a_field_that_does_not_come_back_is_named(prepared: Path, tmp_path: Path, caplog: Any) -> None:
    marked = ROWS[7] | {"row_id": "r-9", "rejected": "不知道。"}
    write_jsonl(prepared / "train.jsonl", [
        ROWS[0] | {"language": "en"},  # told again from the text
        ROWS[0] | {"messages": [{"role": "user", "content": "<image>这是什么？"}, ROWS[0]["messages"][-1]]},
        {**marked, "messages": [*marked["messages"][:-1], {"role": "assistant", "content": " 有空格 "}]},
    ])  # fmt: skip
    lost = export(prepared, tmp_path / "out", "messages", "jsonl", gzip=False)["lost"]
    refused = "all of it (read again it is refused: media)"
    assert lost == {"source": 4, "language": 1, refused: 1, "messages": 1}
    assert f"1 rows in messages do not bring back: {refused}" in caplog.text
    assert "bring back: source" not in caplog.text


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("container", CONTAINERS)
def test_two_exports_are_byte_identical(prepared: Path, tmp_path: Path, container: str, gzip: bool) -> None:
    names = [export(prepared, tmp_path / out, "sharegpt", container, gzip)["files"]["train"] for out in ("a", "b")]
    assert (tmp_path / "a" / names[0]).read_bytes() == (tmp_path / "b" / names[1]).read_bytes()


@pytest.mark.parametrize("format", ["alpaca", "sharegpt", "messages", "preference"])
def test_llama_factory_finds_every_column_it_is_told_of(prepared: Path, tmp_path: Path, format: str) -> None:
    result = export(prepared, tmp_path / "out", format, "jsonl", gzip=False)
    info = read_json(tmp_path / "out" / result["dataset_info"])
    assert {entry["file_name"] for entry in info.values()} == set(result["files"].values())
    entry = info["tunegate_train"]
    tags = entry.get("tags", {})
    with (tmp_path / "out/train.jsonl").open(encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            assert set(entry["columns"].values()) <= set(row)
            for turn in row.get(entry["columns"].get("messages"), []):
                assert {tags["role_tag"], tags["content_tag"]} <= set(turn)
                assert turn[tags["role_tag"]] in {value for name, value in tags.items() if name.endswith("_tag")}
    assert entry.get("ranking", False) == (format == "preference")


@pytest.mark.parametrize(
    ("format", "container", "gzip"),
    [("sharegpt", "jsonl", True), ("alpaca", "csv", False), ("multilingual_thinking", "jsonl", False)],
)
def test_what_llama_factory_cannot_read_has_no_dataset_info(
    prepared: Path, tmp_path: Path, format: str, container: str, gzip: bool
) -> None:
    result = export(prepared, tmp_path / "out", format, container, gzip)
    assert result["dataset_info"] is None
    assert result["why_none"]
    assert not (tmp_path / "out/dataset_info.json").exists()


def test_other_data_sets_in_the_folder_keep_their_entries(prepared: Path, tmp_path: Path) -> None:
    info = tmp_path / "out/dataset_info.json"
    write_json(info, {"theirs": {"file_name": "theirs.json"}})
    export(prepared, tmp_path / "out", "sharegpt", "jsonl", gzip=False)
    assert set(read_json(info)) == {"theirs", "tunegate_train", "tunegate_validation"}
    # The files of this name are replaced: what was said of the old ones is true no more.
    export(prepared, tmp_path / "out", "sharegpt", "jsonl", gzip=True)
    assert set(read_json(info)) == {"theirs"}
    write_json(info, [])
    with pytest.raises(DataContractError, match="is no table of data sets"):
        export(prepared, tmp_path / "out", "sharegpt", "jsonl", gzip=False)


def test_refusals(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`xml` is no format"):
        export(prepared, tmp_path / "out", "xml", "jsonl", gzip=False)
    with pytest.raises(ConfigError, match="`xlsx` is no container"):
        export(prepared, tmp_path / "out", "alpaca", "xlsx", gzip=False)
    with pytest.raises(DataContractError, match=r"has no train\.jsonl"):
        export(tmp_path / "nowhere", tmp_path / "out", "alpaca", "jsonl", gzip=False)
    for split in ("train", "validation"):
        write_jsonl(prepared / f"{split}.jsonl", ROWS[2:3])
    with pytest.raises(DataContractError, match="no prepared row has room in `preference`"):
        export(prepared, tmp_path / "out", "preference", "jsonl", gzip=False)
    assert list((tmp_path / "out").iterdir()) == []


texts = st.text(alphabet=st.sampled_from("碘片，。“”\"',;|\t\n\r\\{}[]<>= a0é\u2028"), min_size=1, max_size=12).map(
    lambda text: f"问{text}答"
)
#: A prepared row has no damaged text: `prepare` mends or refuses it.
texts = texts.filter(lambda text: not is_mojibake(text))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
    st.sampled_from(list(WRITERS)),
    st.sampled_from(CONTAINERS),
)
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], format: str, container: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    row = prepared_row(1, *[text for pair in pairs for text in pair], rejected=pairs[0][0])
    write_jsonl(folder / "prepared/train.jsonl", [row])
    name = export(folder / "prepared", folder / "out", format, container, gzip=False)["files"]["train"]
    ((_, parsed),) = read_back(folder / "out", name)
    assert list(parsed.messages) == row["messages"]
