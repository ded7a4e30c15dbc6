"""Exams small enough to read: parameters, questions, and where the real ones are on a machine that has them."""

import json
import os
from pathlib import Path

import pytest

from tasks.core.settings import ExamParams
from tasks.exams.schema import Exam, Question, Subject

ROOT = Path(__file__).parents[2]


@pytest.fixture
def exam_params():
    """Return a function that makes the settings of an exam."""

    def make(path="exam", **changes):
        values = {
            "name": "ceval_mini", "source": "local", "path": str(path), "few_shot": 0,
            "chat_template": False, "answer": "loglikelihood", "limit": None,
        }  # fmt: skip
        return ExamParams(**(values | changes))

    return make


@pytest.fixture
def question():
    """Return a function that makes a question."""

    def make(number, answer="A", subject="law", text="问题{}____"):
        return Question(subject, str(number), text.format(number), ("甲", "乙", "丙", "丁"), answer)

    return make


@pytest.fixture
def small_exam(exam_params, question):
    """Two subjects of two categories, one of them hard: law (4 questions) and college_physics (1)."""

    def make(**changes):
        law = Subject(
            "law", "法学", [question(n, letter) for n, letter in enumerate("ABCD")],
            [question(7, "C"), question(8, "D")], "Humanities",
        )  # fmt: skip
        physics = Subject(
            "college_physics", "大学物理", [question(0, "B", "college_physics")],
            [question(5, "A", "college_physics"), question(6, "B", "college_physics")], "STEM", ("hard",),
        )  # fmt: skip
        return Exam(exam_params(**({"name": "ceval"} | changes)), [physics, law])

    return make


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data():
    """Real evaluation data beside the checkout or named by a variable; never in the repository."""
    folder = Path(os.environ.get("TUNEGATE_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "ceval" / "val").is_dir():
        pytest.skip("the real C-Eval and CMMLU are not on this machine")
    return folder


@pytest.fixture
def write_exam(tmp_path):
    """Return a function that writes a C-Eval-schema folder: {file: text}."""

    def write(files, mapping=None):
        for name, text in files.items():
            path = tmp_path / "exam" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if mapping is not None:
            Path(tmp_path / "exam" / "mapping.json").write_text(
                json.dumps(mapping, ensure_ascii=False), encoding="utf-8"
            )
        return tmp_path / "exam"

    return write
