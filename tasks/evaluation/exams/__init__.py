"""Four-option exams of many subjects: C-Eval, CMMLU, and own questions in C-Eval's schema."""

from tasks.evaluation.exams.calibration import check_calibration
from tasks.evaluation.exams.extraction import extract_letter
from tasks.evaluation.exams.hub import fetch
from tasks.evaluation.exams.reading import load_exam
from tasks.evaluation.exams.schema import LETTERS, Exam, Question, Subject, item_id, subject_table
from tasks.evaluation.exams.scores import exam_facts
from tasks.evaluation.exams.tasks import TASK_VERSION, exam_item, fit_examples, generation_tasks, likelihood_tasks

__all__ = [
    "LETTERS",
    "TASK_VERSION",
    "Exam",
    "Question",
    "Subject",
    "check_calibration",
    "exam_facts",
    "exam_item",
    "extract_letter",
    "fetch",
    "fit_examples",
    "generation_tasks",
    "item_id",
    "likelihood_tasks",
    "load_exam",
    "subject_table",
]
