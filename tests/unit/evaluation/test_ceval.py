"""C-Eval-schema suites: what is read, how it is asked, what is refused."""

import os
import zipfile
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.settings import CevalParams
from tasks.evaluation import ceval

HEADER = "id,question,A,B,C,D,answer,explanation\n"
ROW = "0,碘片应在____服用。,照射前或照射初期,一周以后,一月以后,从不,A,\n"
#: C-Eval proper in its official layout, beside the checkout or named by a variable; never in the repository.
REAL = Path(os.environ.get("TUNEGATE_CEVAL_DIR") or Path(__file__).parents[4] / "shared" / "data" / "ceval")
ROOT = Path(__file__).parents[3]


def params(path="exam", name="ceval_mini", few_shot=0, **changes):
    values = {
        "name": name,
        "source": "local",
        "path": str(path),
        "few_shot": few_shot,
        "chat_template": False,
        "limit": None,
    }
    return CevalParams(**(values | changes))


def load(folder, **changes):
    return ceval.load_subjects(params(folder, **changes), folder.parent, folder.parent / "cache")


def test_official_prompt(write_exam):
    (subject,) = load(write_exam({"val/law_val.csv": HEADER + ROW}))
    assert subject.description + subject.questions[0].prompt == (
        "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
        "碘片应在____服用。\nA. 照射前或照射初期\nB. 一周以后\nC. 一月以后\nD. 从不\n答案："
    )


def test_both_shapes_of_mapping_name_the_subject(write_exam):
    for value in (["Radiology", "放射学", "Other"], {"name": "放射学", "category": "Other"}):
        folder = write_exam({"val/radiology_val.csv": HEADER + ROW}, {"radiology": value})
        assert load(folder)[0].name == "放射学"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROW.replace(",A,", ",E,"), "law_val.csv:2: answer 'E' is not one of A, B, C, D"),
        (ROW + ROW, "law_val.csv:3: id 0 stands already in line 2"),
        (ROW.replace("从不", "从不,多了一格"), "law_val.csv:2: 1 field(s) too many"),
        (ROW.replace("一月以后", " "), "law_val.csv:2: empty C"),
        ("0,问题,甲\n", "law_val.csv:2: empty B, C, D, answer"),
        ('0,"没有结束的引号,甲,乙,丙,丁,A,\n', "law_val.csv: not a CSV file in UTF-8"),
        ("", "law_val.csv: no questions"),
    ],
)
def test_broken_rows_are_named_with_file_and_line(write_exam, rows, words):
    with pytest.raises(DataContractError) as caught:
        load(write_exam({"val/law_val.csv": HEADER + rows}))
    assert words in caught.value.message


def test_all_problems_are_reported_at_once(write_exam):
    bad = HEADER + ROW.replace(",A,", ",X,")
    folder = write_exam({"val/law_val.csv": bad, "val/physician_val.csv": bad})
    with pytest.raises(DataContractError) as caught:
        load(folder)
    assert "law_val.csv:2" in caught.value.message
    assert "physician_val.csv:2" in caught.value.message


def test_a_missing_column_is_named(write_exam):
    with pytest.raises(DataContractError, match=r"law_val\.csv:1: no column answer"):
        load(write_exam({"val/law_val.csv": HEADER.replace("answer,", "") + ROW}))


def test_a_file_in_another_encoding_is_refused(write_exam):
    folder = write_exam({"val/law_val.csv": ""})
    (folder / "val/law_val.csv").write_bytes((HEADER + ROW).encode("gb18030"))
    with pytest.raises(DataContractError, match="not a CSV file in UTF-8"):
        load(folder)


def test_a_subject_of_the_mapping_without_a_file_is_missing(write_exam):
    folder = write_exam({"val/law_val.csv": HEADER + ROW}, {"law": ["Law", "法学", ""], "gone": ["Gone", "缺", ""]})
    with pytest.raises(DataContractError, match="subject gone is missing"):
        load(folder)


def test_ceval_itself_must_have_all_subjects(write_exam):
    with pytest.raises(DataContractError, match="subject accountant is missing"):
        load(write_exam({"val/law_val.csv": HEADER + ROW}), name="ceval")


def test_few_shot_needs_examples(write_exam):
    folder = write_exam({"val/law_val.csv": HEADER + ROW, "dev/law_dev.csv": HEADER + ROW})
    assert len(load(folder, few_shot=1)[0].examples) == 1
    with pytest.raises(DataContractError, match="1 examples, few_shot asks for 5"):
        load(folder, few_shot=5)


def test_a_folder_without_val_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match="has no folder val/"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_column_name(write_exam):
    assert load(write_exam({"val/law_val.csv": "\ufeff" + HEADER + ROW}))[0].questions[0].question_id == "0"


def test_unpacking_takes_tables_only(tmp_path):
    archive = tmp_path / "ceval-exam.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name in (
            "val/law_val.csv",
            "dev/law_dev.csv",
            "test/law_test.csv",
            "../val/evil.py",
            "val/../../x_val.csv",
        ):
            opened.writestr(name, HEADER + ROW)
    ceval.unpack(archive, tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.csv")) == [
        "dev/law_dev.csv",
        "val/law_val.csv",
    ]


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zip").write_text("not found")
    with pytest.raises(DataContractError, match="is not a zip archive"):
        ceval.unpack(tmp_path / "x.zip", tmp_path / "out")


def test_the_shipped_set_is_usable_and_has_the_subjects_of_ceval():
    subjects = ceval.load_subjects(params("data/raw/eval/ceval_mini"), ROOT, ROOT)
    assert {subject.key for subject in subjects} == set(read_json(ceval.SUBJECTS_FILE))
    assert sum(len(subject.questions) for subject in subjects) >= 104
    assert min(len(subject.questions) for subject in subjects) >= 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the real C-Eval is not on this machine")
def test_the_real_ceval_is_read_whole():
    subjects = ceval.load_subjects(params(REAL, name="ceval", few_shot=5), ROOT, ROOT)
    assert (len(subjects), sum(len(subject.questions) for subject in subjects)) == (52, 1346)
