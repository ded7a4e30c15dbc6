"""What is read as a pack, and what is refused: every problem with its file and line."""

import json

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.exams.pack.reading import load_pack
from tasks.exams.pack.schema import KINDS

FIRST = {
    "choice": {
        "id": "c1",
        "lang": "zh",
        "question": "？",
        "answer": "B",
        "choices": dict(zip("ABCD", "1234", strict=True)),
    },
    "short": {"id": "s1", "lang": "en", "question": "What is OIL1?", "reference": "1000 uSv/h at 1 m."},
    "safety": {"id": "x1", "lang": "zh", "question": "？", "hazard": "h", "safe_answer": "a", "unsafe_answer": "b"},
}


def problems(folder):
    with pytest.raises(DataContractError) as caught:
        load_pack(folder)
    return caught.value.message


def test_a_pack_of_every_kind_is_read(write_pack):
    pack = load_pack(write_pack())
    assert {kind: len(items) for kind, items in pack.items.items()} == dict.fromkeys(KINDS, 1)
    assert (pack.name, pack.schema) == ("demo", 2)


def test_kinds_a_pack_does_not_have_are_empty(write_pack, make_item):
    pack = load_pack(write_pack(only={"order": [make_item("order")]}))
    assert [kind for kind, items in pack.items.items() if items] == ["order"]


def test_a_pack_of_the_first_schema_is_still_read(tmp_path):
    (tmp_path / "pack.json").write_text(json.dumps({"name": "old", "version": "1"}))
    for kind, item in FIRST.items():
        (tmp_path / f"{kind}.jsonl").write_text(json.dumps(item) + "\n")
    pack = load_pack(tmp_path)
    assert pack.schema == 1
    assert {kind: len(items) for kind, items in pack.items.items() if items} == {"choice": 1, "short": 1, "safety": 1}
    assert pack.items["short"][0]["kind"] == "short"
    (tmp_path / "safety.jsonl").unlink()
    assert "safety.jsonl does not exist" in problems(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("choice", {"answer": "E"}, "choice.jsonl:1: choices must be A, B, C, D and answer one of them"),
        ("choice", {"choices": {"A": "1", "B": "2"}}, "choices must be A, B, C, D"),
        ("choice", {"choices": {"A": "1", "B": "1", "C": "2", "D": "3"}}, "two choices are the same"),
        ("choice", {"choices": {"A": "", "B": "1", "C": "2", "D": "3"}}, "every choice must be a text"),
        ("short", {"reference": " "}, "short.jsonl:1: no reference"),
        ("short", {"key_points": None}, "no key_points"),
        ("short", {"key_points": [{"all": ["x"]}]}, "key_points must be a list"),
        ("short", {"key_points": [{"any": []}]}, "key_points must be a list"),
        ("numeric", {"value": "10"}, "value must be a number"),
        ("numeric", {"value": float("nan")}, "value must be a number"),
        ("numeric", {"value": 0}, "value must be a number other than 0"),
        ("numeric", {"value": [50, 30]}, "or [low, high]"),
        ("numeric", {"tolerance": 2}, "tolerance must be a share"),
        ("numeric", {"unit": "furlong"}, "unit 'furlong' is not known"),
        ("order", {"steps": ["a", "b"]}, "steps must be a list of 3 to 8 texts"),
        ("order", {"steps": ["a", "b", "a "]}, "two steps are the same"),
        ("safety", {"unsafe_answer": "50 mSv"}, "safe_answer and unsafe_answer are the same"),
        ("refuse", {"forbidden": None}, "no forbidden"),
        ("unknown", {"forbidden": "text"}, "forbidden must be a list of texts"),
        ("unknown", {"markers": [1]}, "markers must be a list of texts"),
        ("thinking", {"value": None, "unit": None}, "no value, unit (a thinking item has"),
        ("thinking", {"choices": {}, "answer": "A"}, "has choices and a value"),
        ("order", {"lang": "fr"}, "lang 'fr' is not one of zh, en"),
        ("order", {"difficulty": "deadly"}, "difficulty 'deadly' is not one of easy, medium, hard"),
        ("order", {"concept": "Dose units"}, "is not snake_case"),
        ("order", {"id": "步骤:1"}, "has other characters than letters"),
        ("order", {"id": 7}, "id must be a text"),
        ("order", {"kind": "choice"}, "kind is 'choice', but this file holds order"),
        ("order", {"answr": "x"}, "unknown field answr"),
        ("order", {"source": None, "question": None}, "no source, question"),
    ],
)
def test_broken_items_are_named_with_file_and_line(write_pack, make_item, kind, changes, words):
    assert words in problems(write_pack(**{kind: [make_item(kind, **changes)]}))


def test_every_problem_is_told_at_once(write_pack, make_item):
    found = problems(write_pack(choice=[make_item("choice", answer="E")], order=[["no", "object"]]))
    assert "choice.jsonl:1" in found
    assert "order.jsonl:1: not a JSON object" in found


def test_an_id_may_stand_once_in_the_whole_pack(write_pack, make_item):
    found = problems(write_pack(order=[make_item("order"), make_item("order", 2, id="choice-zh-001")]))
    assert "order.jsonl:2: id choice-zh-001 stands twice (first in choice.jsonl:1)" in found


def test_lines_are_counted_with_the_blank_ones(write_pack, make_item):
    text = "\n\n" + json.dumps(make_item("order", steps=[]), ensure_ascii=False) + "\n"
    assert "order.jsonl:3: no steps" in problems(write_pack(order=text))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "order.jsonl holds no item"), ('{"id": "s1"\n', "order.jsonl:1 is not valid JSON")],
)
def test_an_empty_or_cut_file_is_named(write_pack, text, words):
    assert words in problems(write_pack(order=text))


def test_a_file_in_another_encoding_is_named(write_pack):
    folder = write_pack()
    (folder / "order.jsonl").write_bytes('{"id": "步骤"}\n'.encode("gb18030"))
    assert "order.jsonl is not UTF-8" in problems(folder)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"schema": 3}, "schema 3 is not known"),
        ({"licence": ""}, "no licence"),
        ({"files": {"choice": "choice.jsonl"}}, "order.jsonl is not named in pack.json"),
        ({"files": {"riddle": "choice.jsonl"}}, "kind 'riddle' is not one of"),
        ({"files": {"choice": "../choice.jsonl"}}, "must be a name in this folder"),
        ({"files": ["choice.jsonl"]}, "files must give a file for each kind"),
    ],
)
def test_a_broken_pack_json_is_named(write_pack, about, words):
    assert words in problems(write_pack(about=about))


def test_an_empty_pack_is_refused(write_pack):
    assert "no files" in problems(write_pack(only={}))


def test_a_missing_folder_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluate\.domain\.path"):
        load_pack(tmp_path / "none")
