"""Exam files: what is read, and every kind of broken file named with its line."""

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.exams.reading import load_exam, read_folder
from tasks.exams.schema import subject_table

HEADER = "id,question,A,B,C,D,answer,explanation\n"
ROW = "0,碘片应在____服用。,照射前或照射初期,一周以后,一月以后,从不,A,\n"
CMMLU_HEADER = ",Question,A,B,C,D,Answer\n"
CMMLU_ROW = "0,肉牛屠宰后，胴体的哪个部位肉质较好,胸,腹,大腿,小腿,C\n"


@pytest.fixture
def load(exam_params):
    """Return a function that loads a folder."""

    def run(folder, **changes):
        return load_exam(exam_params(folder, **changes), folder.parent, folder.parent / "cache")

    return run


def problems_of(load, folder, **changes):
    with pytest.raises(DataContractError) as caught:
        load(folder, **changes)
    return caught.value.message


def test_both_shapes_of_mapping_name_the_subject(write_exam, load):
    for value in (["Radiology", "放射学", "STEM"], {"name": "放射学", "category": "STEM"}):
        folder = write_exam({"val/radiology_val.csv": HEADER + ROW}, {"radiology": value})
        (subject,) = load(folder).subjects
        assert (subject.name, subject.category) == ("放射学", "STEM")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROW.replace(",A,", ",E,"), "law_val.csv:2: answer 'E' is not one of A, B, C, D"),
        (ROW.replace(",A,", ",nan,"), "law_val.csv:2: answer 'nan' is not one of"),
        (ROW + ROW, "law_val.csv:3: id 0 stands already in line 2"),
        (ROW.replace("从不", "从不,多了一格"), "law_val.csv:2: 1 field(s) too many"),
        (ROW.replace("一月以后", " "), "law_val.csv:2: empty C"),
        ("0,问题,甲\n", "law_val.csv:2: empty B, C, D, answer"),
        (",问题,甲,乙,丙,丁,A,\n", "law_val.csv:2: empty id"),
        ("0,NaN,甲,乙,丙,丁,A,\n", "law_val.csv:2: question or id is 'NaN': a missing value"),
        ("nan,问题,甲,乙,丙,丁,A,\n", "a missing value"),
        ("0,问题,甲,nan,NaN,丁,A,\n", "law_val.csv:2: options B, C are missing values"),
        ('0,"没有结束的引号,甲,乙,丙,丁,A,\n', "law_val.csv: not a CSV file in UTF-8"),
        ("", "law_val.csv: no questions"),
    ],
)
def test_broken_rows_are_named_with_file_and_line(write_exam, load, rows, words):
    assert words in problems_of(load, write_exam({"val/law_val.csv": HEADER + rows}))


def test_one_option_may_be_the_word_none(write_exam, load):
    folder = write_exam({"val/law_val.csv": HEADER + "0,Python 里表示空的是____。,None,null2,nil,void,A,\n"})
    assert load(folder).subjects[0].questions[0].options[0] == "None"


def test_all_problems_are_reported_at_once(write_exam, load):
    bad = HEADER + ROW.replace(",A,", ",X,")
    message = problems_of(load, write_exam({"val/law_val.csv": bad, "val/physician_val.csv": bad}))
    assert "law_val.csv:2" in message
    assert "physician_val.csv:2" in message


def test_a_missing_column_is_named(write_exam, load):
    folder = write_exam({"val/law_val.csv": HEADER.replace("answer,", "") + ROW})
    assert "law_val.csv:1: no column answer" in problems_of(load, folder)


def test_an_empty_file_is_refused(write_exam, load):
    assert "law_val.csv:1: no column id, question" in problems_of(load, write_exam({"val/law_val.csv": ""}))


def test_a_file_in_another_encoding_is_refused(write_exam, load):
    folder = write_exam({"val/law_val.csv": ""})
    (folder / "val/law_val.csv").write_bytes((HEADER + ROW).encode("gb18030"))
    assert "not a CSV file in UTF-8" in problems_of(load, folder)


def test_a_subject_of_the_mapping_without_a_file_is_missing(write_exam, load):
    folder = write_exam({"val/law_val.csv": HEADER + ROW}, {"law": ["Law", "法学", ""], "gone": ["Gone", "缺", ""]})
    assert "subject gone is missing" in problems_of(load, folder)


def test_an_unknown_subject_is_named(write_exam, load):
    assert "subject magic is in no mapping" in problems_of(load, write_exam({"val/magic_val.csv": HEADER + ROW}))


@pytest.mark.parametrize(
    ("name", "file", "text", "first"),
    [
        ("ceval", "val/law_val.csv", HEADER + ROW, "accountant"),
        ("cmmlu", "test/agronomy.csv", CMMLU_HEADER + CMMLU_ROW, "anatomy"),
    ],
)
def test_the_exams_proper_must_have_all_subjects(write_exam, load, name, file, text, first):
    message = problems_of(load, write_exam({file: text}), name=name)
    assert f"subject {first} is missing" in message
    assert message.count("is missing") == len(subject_table(name)) - 1


def test_few_shot_needs_examples(write_exam, load):
    folder = write_exam({"val/law_val.csv": HEADER + ROW, "dev/law_dev.csv": HEADER + ROW})
    assert len(load(folder, few_shot=1).subjects[0].examples) == 1
    assert "1 examples, few_shot asks for 5" in problems_of(load, folder, few_shot=5)


@pytest.mark.parametrize(("name", "split"), [("ceval", "val"), ("ceval_mini", "val"), ("cmmlu", "test")])
def test_a_folder_in_another_layout_is_a_wrong_setting(tmp_path, load, name, split):
    with pytest.raises(ConfigError, match=f"has no folder {split}/"):
        load(tmp_path, name=name)


def test_a_byte_order_mark_is_no_column_name(write_exam, load):
    assert load(write_exam({"val/law_val.csv": "\ufeff" + HEADER + ROW})).subjects[0].questions[0].question_id == "0"


def test_cmmlu_header_and_layout(write_exam, exam_params):
    folder = write_exam({"test/agronomy.csv": CMMLU_HEADER + CMMLU_ROW, "dev/agronomy.csv": CMMLU_HEADER + CMMLU_ROW})
    (subject,), problems = read_folder(folder, exam_params(name="cmmlu", few_shot=1))
    assert (subject.name, subject.category, subject.questions[0].item_id) == ("农学", "Other", "agronomy/0")
    assert len(problems) == 66


def test_official_subjects():
    ceval, cmmlu = subject_table("ceval"), subject_table("cmmlu")
    assert (len(ceval), len(cmmlu)) == (52, 67)
    assert {key for key, facts in ceval.items() if "hard" in facts["marks"]} == {
        "advanced_mathematics", "discrete_mathematics", "probability_and_statistics", "college_chemistry",
        "college_physics", "high_school_mathematics", "high_school_chemistry", "high_school_physics",
    }  # fmt: skip
    categories = {"STEM", "Social Science", "Humanities", "Other"}
    assert {facts["category"] for table in (ceval, cmmlu) for facts in table.values()} == categories


def test_the_shipped_set_is_usable_and_has_the_subjects_of_ceval(exam_params, root):
    exam = load_exam(exam_params("data/raw/eval/ceval_mini"), root, root)
    assert {subject.key for subject in exam.subjects} == set(subject_table("ceval"))
    assert min(len(subject.questions) for subject in exam.subjects) >= 2
    assert {subject.category for subject in exam.subjects if "hard" in subject.marks} == {"STEM"}


def test_items_are_named_as_decontamination_names_them(exam_params, root):
    from tasks.data.matching.eval_sets import read_exam

    params = exam_params("data/raw/eval/ceval_mini")
    items = {question.item_id for subject in load_exam(params, root, root).subjects for question in subject.questions}
    assert items <= {item.item_id for item in read_exam(params, root)}


def test_the_real_ceval_is_read_whole(exam_params, real_data):
    exam = load_exam(exam_params(real_data / "ceval", name="ceval", few_shot=5), real_data, real_data)
    assert (len(exam.subjects), sum(len(subject.questions) for subject in exam.subjects)) == (52, 1346)


def test_the_real_cmmlu_tables_are_read(exam_params, real_data):
    subjects, problems = read_folder(real_data / "cmmlu", exam_params(name="cmmlu", few_shot=5))
    assert sum(len(subject.questions) for subject in subjects) == 1015
    assert all("is missing" in problem for problem in problems)
