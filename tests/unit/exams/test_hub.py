"""Exams from a hub: what is taken from the archive, what a damaged one says."""

import zipfile

import pytest

from tasks.core.errors import DataContractError, TransientError
from tasks.exams import hub
from tasks.exams.schema import STYLES

TABLE = "id,question,A,B,C,D,answer\n"


def archive_of(path, names):
    with zipfile.ZipFile(path, "w") as opened:
        for name in names:
            opened.writestr(name, TABLE)
    return path


def unpacked(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("name", "members", "expected"),
    [
        (
            "ceval",
            ["val/law_val.csv", "dev/law_dev.csv", "test/law_test.csv", "../val/evil.py", "val/../../x_val.csv"],
            ["dev/law_dev.csv", "val/law_val.csv"],
        ),
        (
            "cmmlu",
            ["test/law.csv", "dev/law.csv", "val/law.csv", "test/../../x.csv", "test/evil.py"],
            ["dev/law.csv", "test/law.csv"],
        ),
    ],
)
def test_unpacking_takes_the_tables_only(tmp_path, name, members, expected):
    hub.unpack(archive_of(tmp_path / "x.zip", members), tmp_path / "out", STYLES[name])
    assert unpacked(tmp_path / "out") == expected
    assert not (tmp_path / "x_val.csv").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("not found")
    with pytest.raises(DataContractError, match="is not a zip archive"):
        hub.unpack(tmp_path / "x.zip", tmp_path / "out", STYLES["ceval"])


def test_an_archive_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataContractError, match="holds no tables val/"):
        hub.unpack(archive_of(tmp_path / "x.zip", ["test/law.csv"]), tmp_path / "out", STYLES["ceval"])


def test_a_second_call_downloads_nothing(tmp_path, monkeypatch):
    calls = []

    def download(repository, archive, cache):
        calls.append((repository, archive))
        return archive_of(tmp_path / archive, ["test/law.csv", "dev/law.csv"])

    monkeypatch.setattr(hub, "_from_huggingface", download)
    folders = [hub.fetch("huggingface", "haonan-li/cmmlu", tmp_path / "cache", "cmmlu") for _ in range(2)]
    assert calls == [("haonan-li/cmmlu", "cmmlu_v1_0_1.zip")]
    assert unpacked(folders[1]) == ["dev/law.csv", "test/law.csv"]


def test_a_damaged_download_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "broken.zip").write_text("<html>")
    monkeypatch.setattr(hub, "_from_modelscope", lambda *_: tmp_path / "broken.zip")
    with pytest.raises(DataContractError):
        hub.fetch("modelscope", "opencompass/ceval-exam", tmp_path / "cache")
    assert not (tmp_path / "cache" / "modelscope" / "opencompass--ceval-exam").exists()


def test_a_hub_that_cannot_be_reached_is_transient(tmp_path, monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(TransientError, match=r"could not fetch ceval-exam\.zip of ceval/ceval-exam from huggingface"):
        hub.fetch("huggingface", "ceval/ceval-exam", tmp_path)
