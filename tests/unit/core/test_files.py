"""Nothing half-written is taken for finished."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl, replaced_directory, write_json, write_jsonl, write_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=JSON)
def test_json_comes_back_as_it_went(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_is_written_one_way(tmp_path):
    write_json(tmp_path / "a.json", {"乙": 1, "a": [1]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "a": [\n    1\n  ],\n  "乙": 1\n}\n'


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_absent_and_damaged_json(tmp_path):
    with pytest.raises(DataContractError, match="does not exist"):
        read_json(tmp_path / "无.json")
    (tmp_path / "b.json").write_text('{"half":')
    with pytest.raises(DataContractError, match=r"b\.json is not valid JSON"):
        read_json(tmp_path / "b.json")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "旧")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full_disk)
        patched.setattr("pathlib.Path.replace", full_disk)
        with pytest.raises(OSError, match="No space"):
            write_text(path, "新")
    assert path.read_text("utf-8") == "旧"


def test_lines_come_back_and_a_bad_one_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, [{"文": "\u2028行"}, {"b": 2}]) == 2
    assert list(read_jsonl(path)) == [{"文": "\u2028行"}, {"b": 2}]
    path.write_text('{"a": 1}\n\n{"b": \n', "utf-8")
    with pytest.raises(DataContractError, match=r"rows\.jsonl:3"):
        list(read_jsonl(path))


def test_a_directory_takes_its_place_when_it_is_whole(tmp_path):
    final = tmp_path / "output"
    final.mkdir()
    (final / "old.txt").touch()
    with replaced_directory(final) as partial:
        (partial / "new.txt").touch()
        assert (final / "old.txt").exists()
    assert [path.name for path in final.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_a_directory_that_failed_leaves_the_old_one(tmp_path):
    final = tmp_path / "output"
    final.mkdir()
    (final / "old.txt").touch()

    def die() -> None:
        with replaced_directory(final) as partial:
            (partial / "new.txt").touch()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        die()
    assert [path.name for path in final.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_what_a_killed_run_left_is_not_taken_for_new(tmp_path):
    left = tmp_path / ".output.partial"
    left.mkdir()
    (left / "half.bin").touch()
    with replaced_directory(tmp_path / "output") as partial:
        assert list(partial.iterdir()) == []
