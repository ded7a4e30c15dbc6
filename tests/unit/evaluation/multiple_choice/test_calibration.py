"""Calibration: a broken prompt moves the base's score away from the known one, and that is seen."""

import json

import pytest

from tasks.evaluation.multiple_choice.calibration import KNOWN_FILE, check_calibration

ENTRY = {
    "model": "llm-x", "digest": "sha256:1", "exam": "ceval", "few_shot": 0, "chat_template": False,
    "answer": "loglikelihood", "weighting": "by_item", "accuracy": 0.6, "tolerance": 0.02, "prompts_sha256": "p",
    "answer_logprob": -1.5, "answer_logprob_tolerance": 0.05,
    "source": "measured with lm-eval's Hugging Face backend",
}  # fmt: skip
FACTS = {
    "accuracy": 0.6, "weighted": {"by_subject": 0.7, "by_item": 0.6}, "prompts_sha256": "p", "answer_logprob": -1.52,
    "generated": {"accuracy": 0.4, "by_subject": 0.3},
}  # fmt: skip


@pytest.fixture
def check(tmp_path, exam_params):
    """Return a function that checks facts against one known score."""

    def run(entry=None, facts=None, base=("llm-x", "sha256:1"), **params):
        path = tmp_path / "known.json"
        path.write_text(json.dumps({"scores": [ENTRY | (entry or {})]}), encoding="utf-8")
        return check_calibration(*base, FACTS | (facts or {}), exam_params(**({"name": "ceval"} | params)), path)

    return run


def test_a_known_score_is_met(check):
    assert check() == {
        "exam": "ceval", "answer": "loglikelihood", "expected": 0.6, "measured": 0.6, "tolerance": 0.02, "ok": True,
        "answer_logprob": {"measured": -1.52, "expected": -1.5, "tolerance": 0.05},
        "source": "measured with lm-eval's Hugging Face backend",
    }  # fmt: skip


@pytest.mark.parametrize("accuracy", [0.57, 0.63, 0.25])
def test_a_score_outside_the_tolerance_is_not_ok(check, accuracy):
    assert check(facts={"accuracy": accuracy})["ok"] is False


def test_a_model_at_chance_is_calibrated_by_the_probability_of_the_right_letter(check):
    assert check(facts={"answer_logprob": -1.9})["ok"] is False
    assert check({"answer_logprob": None, "answer_logprob_tolerance": None}, {"answer_logprob": -1.9})["ok"] is True


@pytest.mark.parametrize(
    "changed",
    [
        {"base": ("llm-y", "sha256:1")},
        {"base": ("llm-x", "sha256:2")},
        {"few_shot": 5},
        {"chat_template": True},
        {"name": "cmmlu"},
        {"answer": "generation"},
        {"limit": 3},
        {"facts": {"prompts_sha256": "another set"}},
    ],
)
def test_what_was_asked_otherwise_has_no_known_score(check, changed):
    assert check(**changed) is None


def test_a_known_score_may_be_generated_and_weighted_by_subject(check):
    entry = {"answer": "generation", "weighting": "by_subject", "accuracy": 0.3}
    assert check(entry, answer="both")["measured"] == 0.3
    assert check(ENTRY | {"weighting": "by_subject", "accuracy": 0.7})["measured"] == 0.7


def test_the_shipped_known_scores_say_all_that_they_depend_on():
    for entry in json.loads(KNOWN_FILE.read_text(encoding="utf-8"))["scores"]:
        assert set(entry) == set(ENTRY)
        assert 0 < entry["accuracy"] < 1
        assert 0 < entry["tolerance"] <= 0.05
        assert entry["weighting"] in ("by_item", "by_subject")


def test_the_laptop_base_is_known_on_the_shipped_questions(exam_params, root):
    """New questions want a new known score: tests/benchmarks/known_score.py measures one by lm-eval's own backend."""
    from tasks.core.digest import sha256_json
    from tasks.core.settings import load_settings
    from tasks.exams.reading import load_exam

    settings = load_settings(root / "params.yaml")
    exam = load_exam(exam_params("data/raw/eval/ceval_mini"), root, root)
    prompts = [[q.item_id, exam.prompt(s, q), q.answer] for s in exam.subjects for q in s.questions]
    facts = FACTS | {"prompts_sha256": sha256_json(sorted(prompts)), "accuracy": 0.25, "answer_logprob": -1.5654}
    found = check_calibration(settings.base_model.id, settings.base_model.digest, facts, exam.params)
    assert found is not None
    assert found["ok"]
    for broken in ({"answer_logprob": -1.7}, {"accuracy": 0.3}):
        assert not check_calibration(settings.base_model.id, settings.base_model.digest, facts | broken, exam.params)[
            "ok"
        ]
