"""Every container and encoding gives the same rows; every kind of bad file loses none of the others."""

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import ReadParams
from tasks.data.problems import BadRowError
from tasks.data.reading.raw import instruction_files, parser_of, read_chunks

Params = Callable[..., ReadParams]
ROWS = [
    {"instruction": f"第{n}号站点“巡测”怎么做？", "output": f"先测本底，\n再测{n}个点, 并记录。"} for n in range(40)
]
NAMES = [f"a.{container}{gz}" for container in ("jsonl", "json", "csv", "parquet") for gz in ("", ".gz")]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]
GOOD = ROWS[0]


@pytest.mark.parametrize("name", NAMES)
def test_containers_give_the_same_rows_and_the_same_content(folder: Any, name: str) -> None:
    folder.put_rows(name, ROWS)
    contents = [json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() for row in ROWS]
    for size in (64, 1 << 22):
        rows = folder.rows(chunk_bytes=size)
        assert [row.value for row in rows] == ROWS
        assert [row.content for row in rows] == contents
        assert [row.line for row in rows] == list(range(1, 41))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("container", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("gz", ["", ".gz"])
def test_encodings_are_told(folder: Any, container: str, encoding: str, gz: str) -> None:
    path = folder.put_rows(f"a.{container}", ROWS)
    content = path.read_bytes().decode()
    path.unlink()
    folder.put(f"a.{container}{gz}", content.encode(encoding))
    assert folder.told(chunk_bytes=100) == ROWS


def test_mixed_containers_in_one_folder_come_in_the_order_of_their_names(folder: Any) -> None:
    for number, name in enumerate(("b.parquet", "a.jsonl.gz", "sub/c.csv", "d.json")):
        folder.put_rows(name, [ROWS[number]])
    assert folder.told() == [ROWS[1], ROWS[0], ROWS[3], ROWS[2]]


def test_chunks_travel_between_processes(folder: Any, read_params: Params) -> None:
    folder.put_rows("a.csv", ROWS)
    folder.put("b.jsonl", b"{}\n")
    folder.path("c.json").mkdir()
    chunks = list(read_chunks(folder.raw, read_params()))
    assert pickle.loads(pickle.dumps(chunks))[0] == chunks[0]
    damaged = pickle.loads(pickle.dumps(chunks))[2].data[0].problem
    assert (damaged.reason, damaged.detail) == ("damaged_file", "it is no regular file; from 1 on")


def test_a_few_wrong_bytes_do_not_change_the_encoding_of_a_file(folder: Any) -> None:
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    lines[7] = json.dumps(ROWS[7], ensure_ascii=False).encode("gb18030")
    lines[9] = b'"caf\xe9"'
    folder.put("a.jsonl", b"\n".join(lines))
    told = folder.told()
    expected: list[Any] = list(ROWS)
    expected[7] = expected[9] = "malformed_encoding"
    assert told == expected


def test_western_bytes_do_not_pass_for_chinese(folder: Any) -> None:
    folder.put("a.jsonl", 'résumé café déjà\n"naïve façade"\n'.encode("latin-1"))
    assert folder.told() == ["malformed_encoding"] * 2


def test_chinese_that_begins_far_down_a_file_is_seen(folder: Any) -> None:
    english = json.dumps({"instruction": "Where?" * 20, "output": "Here."}).encode() + b"\n"
    chinese = json.dumps(GOOD, ensure_ascii=False).encode("gb18030") + b"\n"
    folder.put("a.jsonl", english * 9_000 + chinese * 9_000)
    assert folder.told()[-1] == GOOD


def test_overrides(folder: Any, read_params: Params) -> None:
    folder.put("a.jsonl", '["一"]\n'.encode("utf-16-be"))
    folder.put("b.jsonl", b'"\xe9\xa1\xb9"\n')
    files = {"instructions/a.jsonl": {"encoding": "utf-16"}, "instructions/b.jsonl": {"encoding": "gb18030"}}
    assert folder.told(params=read_params(files)) == [["一"], "malformed_encoding"]
    params = read_params({"instructions/a.jsonl": {"format": "alpaca"}})
    assert parser_of("x", params)(GOOD | {"messages": []}).format == "alpaca"
    with pytest.raises(BadRowError, match="missing_field"):
        parser_of("instructions/a.jsonl", params)({"conversations": []})
    with pytest.raises(ConfigError, match=r"nowhere\.csv is no file"):
        folder.rows(read_params({"nowhere.csv": {}}))


def test_files_that_hold_no_rows_are_named(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder.put_rows("a.jsonl", [GOOD])
    folder.put("table.xlsx", b"PK")
    folder.put("README.md", b"about")
    assert [path.name for path in instruction_files(folder.raw)] == ["a.jsonl"]
    assert "instructions/table.xlsx is none of" in caplog.text
    assert "README" not in caplog.text


def test_no_file_is_an_error(folder: Any) -> None:
    with pytest.raises(DataContractError, match=r"holds no \*\.jsonl"):
        folder.rows()


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


TALK = [turn("user", "在吗？"), turn("assistant", "在。")]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    ("content", "values"),
    [
        (json.dumps(ROWS[:3], ensure_ascii=False, indent=2), ROWS[:3]),
        (json.dumps(ROWS[:3], ensure_ascii=False), ROWS[:3]),
        ("[\n" + ",\n".join(json.dumps(row) for row in ROWS[:3]) + "\n]\n", ROWS[:3]),
        ("\n".join(json.dumps(row) for row in ROWS[:3]), ROWS[:3]),
        (f"{json.dumps(TALK)}\n{json.dumps(TALK)}\n", [TALK, TALK]),
        (json.dumps(TALK), [TALK]),
        (json.dumps([TALK, TALK]), [TALK, TALK]),
    ],
)
def test_the_content_tells_an_array_from_lines(folder: Any, name: str, content: str, values: list[Any]) -> None:
    folder.put(name, content.encode())
    found = folder.told()
    # An array of conversations on one line of lines is one row that is no conversation.
    assert found in (values, [values]) if name.endswith("l") and values == [TALK, TALK] else found == values


def test_columns_of_arrow_json_are_read_as_json_and_007_stays_text(folder: Any) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ['"在吗？"', '{"role": "user", "parts": ["a", null]}', "007", "NaN", '"007"', None, "7"]
    nested = pa.array([[{"c": text}] for text in texts], pa.list_(pa.struct([("c", pa.string())])))
    kind = pa.list_(pa.struct([("c", pa.json_())]))
    typed = pa.ListArray.from_arrays(
        nested.offsets, pa.StructArray.from_arrays([pa.array(texts, pa.json_())], fields=[kind.value_type.field(0)])
    )
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array(texts, pa.json_()), "b": typed, "plain": texts}), stream)
    folder.put("a.parquet", stream.getvalue())
    values = ["在吗？", {"role": "user", "parts": ["a", None]}, "007", "NaN", "007", None, 7]
    assert folder.told() == [
        {"a": value, "b": [{"c": value}], "plain": text} for value, text in zip(values, texts, strict=True)
    ]


def test_a_table_with_other_column_names_is_read_and_a_mapped_one_checked(folder: Any, read_params: Params) -> None:
    folder.put("a.csv", "编号;来电内容;答复内容\n1;水从哪里来？;消防车送。\n".encode())
    assert folder.told() == [{"编号": "1", "来电内容": "水从哪里来？", "答复内容": "消防车送。"}]
    known = {"instructions/a.csv": {"columns": {"instruction": "来电内容", "output": "答复内容"}}}
    (row,) = folder.rows(read_params(known))
    parsed = parser_of("instructions/a.csv", read_params(known))(row.value)
    assert [message["content"] for message in parsed.messages] == ["水从哪里来？", "消防车送。"]
    known["instructions/a.csv"]["columns"]["output"] = "答复"
    with pytest.raises(ConfigError, match="has no column 答复"):
        folder.rows(read_params(known))
