"""Digests and manifests: the same bytes give the same name; a changed byte is seen."""

import hashlib

import pytest

from tasks.core.digest import file_digests, sha256_file, sha256_json, sha256_tree
from tasks.core.errors import DataContractError
from tasks.core.manifest import MANIFEST, read_manifest, verify_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "输出"
    (root / "子").mkdir(parents=True)
    (root / "a.txt").write_text("碘片", "utf-8")
    (root / "子" / "b.bin").write_bytes(b"\x00\x01")
    return root


def test_digest_of_a_file(folder):
    assert sha256_file(folder / "a.txt") == hashlib.sha256("碘片".encode()).hexdigest()


def test_digest_of_a_folder_is_its_names_and_bytes(folder, tmp_path):
    before = sha256_tree(folder)
    folder.rename(tmp_path / "moved")
    assert sha256_tree(tmp_path / "moved") == before
    (tmp_path / "moved" / "a.txt").rename(tmp_path / "moved" / "c.txt")
    assert sha256_tree(tmp_path / "moved") != before


def test_bytecode_is_no_content(folder):
    before = file_digests(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").touch()
    assert file_digests(folder) == before


def test_json_digest_does_not_know_the_order_of_keys():
    assert sha256_json({"b": 1, "甲": [2, 1]}) == sha256_json({"甲": [2, 1], "b": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])
    with pytest.raises(ValueError, match="JSON"):
        sha256_json(float("inf"))


def test_a_manifest_names_every_file_but_itself(folder):
    written = write_manifest(folder, {"stage": "prepare"})
    assert read_manifest(folder) == written == verify_manifest(folder)
    assert set(written["files"]) == {"a.txt", "子/b.bin"}
    assert written["schema"] == 1


def test_a_folder_without_manifest_is_incomplete(folder):
    with pytest.raises(DataContractError, match="absent or incomplete"):
        read_manifest(folder)


@pytest.mark.parametrize("fault", ["changed", "added", "removed"])
def test_a_folder_that_differs_from_its_manifest(folder, fault):
    write_manifest(folder, {})
    if fault == "changed":
        (folder / "a.txt").write_text("碘片?", "utf-8")
    elif fault == "added":
        (folder / "extra.txt").touch()
    else:
        (folder / "a.txt").unlink()
    with pytest.raises(DataContractError, match=r"extra\.txt" if fault == "added" else r"a\.txt"):
        verify_manifest(folder)


def test_a_damaged_manifest(folder):
    (folder / MANIFEST).write_text("{")
    with pytest.raises(DataContractError, match="not valid JSON"):
        read_manifest(folder)
