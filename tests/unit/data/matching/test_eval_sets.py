"""Every layout of an evaluation set gives items with stable names; a damaged one says which file to mend."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import DataContractError
from tasks.core.settings import DomainParams, EvalSetParams, ExamParams
from tasks.data.matching.eval_sets import read_eval_sets, read_folder

CEVAL = "id,question,A,B,C,D,answer,explanation\n0,我国的根本政治制度是____,甲,乙,丙,丁,A,\n"
CMMLU = ",Question,A,B,C,D,Answer\n0,肉质较好的部位是,胸部,腹部,大腿,小腿,C\n7,产绒的羊种是,甲,乙,丙,丁,B\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8-sig")
    return root


def pack(root: Path) -> Path:
    item = {"id": "short-1", "question": "铯-137的半衰期是多少年？", "reference": "约30年。"}
    names = {"pack.json": json.dumps({"files": {"short": "short.jsonl"}}), "short.jsonl": json.dumps(item) + "\n"}
    root.mkdir(parents=True)
    for name, text in names.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_ceval_names_items_by_subject_and_id(tmp_path: Path) -> None:
    write(tmp_path, {"val/civil_servant_val.csv": CEVAL, "dev/civil_servant_dev.csv": CEVAL})
    items = read_folder(tmp_path, "ceval")
    assert sorted(item.item_id for item in items) == ["civil_servant/0", "civil_servant_dev/0"]
    assert items[0].options == ("甲", "乙", "丙", "丁")


def test_cmmlu_tells_dev_from_test(tmp_path: Path) -> None:
    write(tmp_path, {"dev/agronomy.csv": CMMLU, "test/agronomy.csv": CMMLU})
    items = read_folder(tmp_path, "cmmlu")
    assert sorted(item.item_id for item in items) == ["agronomy/0", "agronomy/7", "agronomy_dev/0", "agronomy_dev/7"]
    assert {item.eval_set for item in items} == {"cmmlu"}


def test_all_configured_sets_are_read(tmp_path: Path) -> None:
    write(tmp_path / "ceval", {"val/law_val.csv": CEVAL})
    write(tmp_path / "cmmlu", {"test/law.csv": CMMLU})
    pack(tmp_path / "domain")
    pack(tmp_path / "other")
    ceval = ExamParams(
        name="ceval", source="local", path="ceval", few_shot=0, chat_template=False, answer="loglikelihood", limit=None
    )
    extra = [EvalSetParams(name="cmmlu", path="cmmlu"), EvalSetParams(name="other", path="other")]
    items = read_eval_sets([ceval], DomainParams(path="domain", limit=None), tmp_path, extra)
    assert [item.eval_set for item in items] == ["ceval", "domain_short", "cmmlu", "cmmlu", "other_domain_short"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no evaluation item"),
        ({"a.csv": "id,answer\n1,A\n"}, "row 1 has no question"),
        ({"a.csv": "id,question\n1,问\n2,\n"}, "row 2 has no question"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path: Path, files: dict[str, str], says: str) -> None:
    write(tmp_path, files)
    with pytest.raises(DataContractError, match=says):
        read_folder(tmp_path, "set")


def test_a_csv_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_bytes(CEVAL.encode("gb18030"))
    with pytest.raises(DataContractError, match=r"old\.csv is no CSV in UTF-8"):
        read_folder(tmp_path, "set")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="holds no evaluation item"):
        read_folder(tmp_path / "nowhere", "set")
