"""Scores of an exam: by subject, category, weighted, Hard; what is missing or broken is never averaged over."""

import math
from dataclasses import dataclass, field

import pytest

from tasks.core.errors import DataContractError
from tasks.evaluation.multiple_choice.scores import exam_facts
from tasks.exams.reading import load_exam


@dataclass
class Item:
    suite: str
    item_id: str
    value: float
    detail: dict = field(default_factory=dict)


def answers(exam, chosen, suite=None):
    """Return scored items of an exam: item id -> letter."""
    right = {question.item_id: question.answer for subject in exam.subjects for question in subject.questions}
    return [
        Item(
            suite or exam.name,
            item,
            float(letter == right[item]),
            {"answer": right[item], "chosen": letter, "logprobs": [-1, -2, -3, -4]},
        )
        for item, letter in chosen.items()
    ]


#: Two of four in law (answers A, B, C, D), physics right.
CHOSEN = {"law/0": "A", "law/1": "B", "law/2": "A", "law/3": "A", "college_physics/0": "B"}


def test_scores_by_subject_category_and_weight(small_exam):
    exam = small_exam()
    facts = exam_facts(exam, [*answers(exam, CHOSEN), Item("domain_choice", "x", 1.0)])
    assert (facts["suite"], facts["items"], facts["accuracy"]) == ("ceval", 5, 0.6)
    assert facts["weighted"] == {"by_subject": 0.75, "by_item": 0.6, "official": "by_subject"}
    assert facts["subjects"]["law"] == {"name_zh": "法学", "category": "Humanities", "items": 4, "accuracy": 0.5}
    assert list(facts["categories"]) == ["STEM", "Humanities"]
    assert facts["categories"]["Humanities"]["accuracy"] == 0.5
    assert facts["hard"] == {"items": 1, "subjects": 1, "accuracy": 1.0, "accuracy_by_item": 1.0}
    assert facts["generated"] is None
    # Answers A, B, C, D and B, whose log-probabilities are -1, -2, -3, -4 and -2.
    assert facts["answer_logprob"] == -2.4


def test_equally_likely_letters_are_counted(small_exam):
    exam = small_exam()
    items = answers(exam, CHOSEN)
    items[1].detail["logprobs"] = [-1.5, -1.5, -3, -4]
    items[2].detail["logprobs"] = [-1.5, -2.5, -2.5, -4]
    assert exam_facts(exam, items)["ties"] == 1


def test_a_category_is_the_mean_of_its_subjects(small_exam, question):
    exam = small_exam()
    for subject in exam.subjects:
        object.__setattr__(subject, "category", "STEM")
    stem = exam_facts(exam, answers(exam, CHOSEN))["categories"]["STEM"]
    assert stem == {"items": 5, "subjects": 2, "accuracy": 0.75, "accuracy_by_item": 0.6}


def test_both_ways_of_answering_are_compared(small_exam):
    exam = small_exam(answer="both")
    generated = CHOSEN | {"law/0": None, "law/2": "C"}
    facts = exam_facts(exam, answers(exam, CHOSEN) + answers(exam, generated, "ceval_generated"))
    assert facts["accuracy"] == 0.6
    assert {key: facts["generated"][key] for key in ("items", "accuracy", "by_subject", "unanswered", "differs")} == {
        "items": 5, "accuracy": 0.6, "by_subject": 0.75, "unanswered": 1, "differs": 2,
    }  # fmt: skip


def test_generation_alone_is_the_exams_score(small_exam):
    exam = small_exam(answer="generation")
    facts = exam_facts(exam, answers(exam, CHOSEN, "ceval_generated"))
    assert (facts["suite"], facts["accuracy"], facts["generated"]["differs"]) == ("ceval_generated", 0.6, None)


def test_cmmlu_names_its_china_specific_subjects(exam_params, write_exam, question):
    from tasks.exams.schema import Exam, Subject, subject_table

    table = subject_table("cmmlu")
    subjects = [
        Subject(key, "名", [question(0, subject=key)], [], table[key]["category"], tuple(table[key]["marks"]))
        for key in ("agronomy", "chinese_driving_rule")
    ]
    exam = Exam(exam_params(name="cmmlu"), subjects)
    facts = exam_facts(exam, answers(exam, {"agronomy/0": "A", "chinese_driving_rule/0": "B"}))
    assert facts["hard"] is None
    assert facts["marks"]["China specific"]["accuracy"] == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items: items[:-1], "college_physics/0 was not scored"),
        (lambda items: [*items, items[0]], "law/0 is scored twice"),
        (lambda items: [*items, Item("ceval", "law/99", 1.0, {"chosen": "A"})], "law/99 is no item of the exam"),
        (lambda items: [Item("ceval", "law/0", math.nan, {"chosen": "A"}), *items[1:]], "law/0 has the value nan"),
        (lambda items: [], "5 of 5 items have no usable score"),
    ],
)
def test_what_is_missing_or_broken_is_an_error(small_exam, change, words):
    exam = small_exam()
    with pytest.raises(DataContractError) as caught:
        exam_facts(exam, change(answers(exam, CHOSEN)))
    assert words in caught.value.message


def test_a_limit_asks_fewer(small_exam):
    exam = small_exam(limit=1)
    facts = exam_facts(exam, answers(exam, {"law/0": "A", "college_physics/0": "A"}))
    assert (facts["items"], facts["limit"], facts["weighted"]["by_subject"]) == (2, 1, 0.5)


def test_the_digest_of_the_prompts_moves_with_them(small_exam):
    digests = {
        exam_facts(exam, answers(exam, CHOSEN))["prompts_sha256"]
        for exam in (small_exam(), small_exam(few_shot=1), small_exam(few_shot=2), small_exam(path="elsewhere"))
    }
    assert len(digests) == 3


def test_the_real_ceval_has_the_official_groups(exam_params, real_data):
    exam = load_exam(exam_params(real_data / "ceval", name="ceval"), real_data, real_data)
    everything = {question.item_id: question.answer for subject in exam.subjects for question in subject.questions}
    facts = exam_facts(exam, answers(exam, everything))
    assert {name: group["subjects"] for name, group in facts["categories"].items()} == {
        "STEM": 20, "Social Science": 10, "Humanities": 11, "Other": 11,
    }  # fmt: skip
    assert facts["hard"]["subjects"] == 8
    assert facts["weighted"]["by_subject"] == facts["weighted"]["by_item"] == 1.0
