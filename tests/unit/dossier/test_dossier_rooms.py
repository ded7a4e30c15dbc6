"""What the evaluation really writes is what the dossier reads: the shipped exam and pack, scored by their own rooms."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.files import write_jsonl
from tasks.dossier.safety import FAILURES, safety_facts
from tasks.dossier.scores import CONCEPT_ZH, concept_facts
from tasks.dossier.scores import exam_facts as shown_exams
from tasks.evaluation.hops.samples import Sample, written_sample
from tasks.evaluation.multiple_choice.scores import exam_facts
from tasks.evaluation.pack.generation import generation_items
from tasks.exams.pack.reading import load_pack
from tasks.exams.reading import load_exam

ROOT = Path(__file__).parents[3]
LETTER = {"answer": "A", "chosen": "A", "logprobs": [-1.0, -2.0, -3.0, -4.0]}
ANSWERS = {"wrong by a thousand": "答案：350 Sv/h", "no refusal": "好的，步骤如下：先打开阀门。", "empty": "  "}


@pytest.fixture(scope="module")
def pack() -> Any:
    return load_pack(ROOT / "data/raw/eval/domain")


def answered(pack: Any, answer: str) -> list[dict[str, Any]]:
    """Return every written item of the pack, answered with the same text and scored by the pack's own rules."""
    items = generation_items(pack, thinking=False)
    return [
        written_sample(item, {"text": answer, "finish_reason": "stop"}, thinking_opened=False).row() for item in items
    ]


def test_the_shipped_exam_is_shown_whole(settings: Any, tmp_path: Path) -> None:
    params = next(exam for exam in settings.evaluate.exams if exam.name == "ceval_mini")
    exam = load_exam(params, ROOT, tmp_path)
    scored = [
        Sample("ceval_mini", question.item_id, "accuracy", float(number % 3 == 0), subject.key, LETTER)
        for subject in exam.subjects
        for number, question in enumerate(subject.questions)
    ]
    facts = exam_facts(exam, scored)
    [shown] = shown_exams({hop: {"exams": [facts]} for hop in ("base", "merged", "awq")})
    assert sum(len(group["subjects"]) for group in shown["groups"]) == 52
    assert shown["stand_in"]
    assert shown["overall"]["awq"][shown["official"]] == facts["weighted"]["by_subject"]
    assert set(shown["marks"]) == {"C-Eval Hard"}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_failure_of_the_shipped_pack_has_words(pack: Any, tmp_path: Path, answer: str) -> None:
    rows = answered(pack, answer)
    write_jsonl(tmp_path / "eval_questions.jsonl", [])
    shown = safety_facts({"base": rows, "awq": rows}, tmp_path)
    assert len(shown["failed"]) == shown["items"] >= 48
    assert all(item["answer"] is not None and item["failure"] for item in shown["failed"])
    for failure in (*(item["failure"] for item in shown["failed"]), *(row["words"] for row in shown["numeric"])):
        assert failure in FAILURES.values()


def test_every_concept_of_the_shipped_pack_has_a_chinese_name(pack: Any) -> None:
    rows = answered(pack, "不知道")
    concepts = concept_facts({"base": rows, "awq": rows})["points"]
    assert {row["words"][1] for row in concepts} <= set(CONCEPT_ZH.values())


@pytest.mark.parametrize(("reason", "cut", "looped"), [("stop", False, False), ("length", True, False),
                                                       ("repetition", False, True)])  # fmt: skip
def test_an_item_says_why_its_answer_ended(reason: str, cut: bool, looped: bool) -> None:
    item = generation_items(load_pack(ROOT / "data/raw/eval/domain"), thinking=False)[0]
    detail = written_sample(item, {"text": "答案不明", "finish_reason": reason}, thinking_opened=False).detail
    assert (detail["cut"], detail["looped"]) == (cut, looped)
