"""What an exam is made of, and what the exams themselves fix: subjects, categories, prompt, file layout.

C-Eval: Huang et al. 2023, https://arxiv.org/abs/2305.08322; prompt as in `code/evaluator_series/evaluators/llama.py` of
https://github.com/hkust-nlp/ceval. CMMLU: Li et al. 2023, https://arxiv.org/abs/2306.09212; prompt, subjects and
categories as in `src/mp_utils.py` and `src/categories.py` of https://github.com/haonan-li/CMMLU.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.settings import ExamParams

LETTERS = ("A", "B", "C", "D")
#: Exam -> subject -> Chinese name, category, and marks such as C-Eval Hard.
SUBJECTS_FILE = Path(__file__).with_name("subjects.json")


@dataclass(frozen=True)
class Style:
    """What differs between exams: words of the official prompt, and where its files are.

    Args:
        description: first line of a prompt; {name} is the subject's Chinese name.
        before: stands before a question.
        cue: stands after the options; the letter follows at once.
        archive: file that the hubs carry.
        scored: folder and file ending of the questions whose answers are public.
        shown: folder and file ending of the solved examples.
        marks: groups of subjects beside the categories: mark -> words for it.
    """

    description: str
    before: str
    cue: str
    archive: str
    scored: tuple[str, str]
    shown: tuple[str, str]
    marks: dict[str, str]


_CEVAL = Style(
    description="以下是中国关于{name}考试的单项选择题，请选出其中的正确答案。\n\n",
    before="",
    cue="答案：",
    archive="ceval-exam.zip",
    # The labels of C-Eval's test split are not public.
    scored=("val", "_val.csv"),
    shown=("dev", "_dev.csv"),
    marks={"hard": "C-Eval Hard"},
)
STYLES = {
    "ceval": _CEVAL,
    "ceval_mini": _CEVAL,
    "cmmlu": Style(
        description="以下是关于{name}的单项选择题，请直接给出正确答案的选项。\n\n",
        before="题目：",
        cue="答案是：",
        archive="cmmlu_v1_0_1.zip",
        scored=("test", ".csv"),
        shown=("dev", ".csv"),
        marks={"china_specific": "China specific"},
    ),
}


@dataclass(frozen=True)
class Question:
    """One four-option question."""

    subject: str
    question_id: str
    text: str
    options: tuple[str, str, str, str]
    answer: str

    @property
    def item_id(self) -> str:
        """Name of the question within its exam."""
        return item_id(self.subject, self.question_id)

    def prompt(self, style: Style) -> str:
        """Return the question as the official prompt writes it, up to where the letter follows."""
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=True))
        return f"{style.before}{self.text}\n{options}\n{style.cue}"


@dataclass(frozen=True)
class Subject:
    """One subject: its Chinese name, category, scored questions, and solved examples for few-shot prompts."""

    key: str
    name: str
    questions: list[Question]
    examples: list[Question]
    category: str = "Other"
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exam:
    """An exam as params.yaml asks for it.

    Args:
        params: its entry in evaluate.exams.
        subjects: sorted by key.
        dropped: item id -> how many examples its few-shot prompt leaves out to fit the model's context.
    """

    params: ExamParams
    subjects: list[Subject]
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the suite."""
        return self.params.name

    @property
    def style(self) -> Style:
        """Prompt and layout."""
        return STYLES[self.params.name]

    @property
    def stand_in(self) -> bool:
        """Whether these are own questions, never to be reported as the exam."""
        return self.params.name == "ceval_mini"

    @property
    def by_likelihood(self) -> bool:
        """Whether the letter's log-probability is asked for."""
        return self.params.answer in ("loglikelihood", "both")

    @property
    def by_generation(self) -> bool:
        """Whether an answer is generated and the letter read from it."""
        return self.params.answer in ("generation", "both")

    def prompt(self, subject: Subject, question: Question) -> str:
        """Return the whole prompt of a question: description, solved examples, question."""
        return prompt_of(self.style, subject, self.examples(subject, question), question)

    def examples(self, subject: Subject, question: Question) -> list[Question]:
        """Return the solved examples that stand before a question."""
        shown = subject.examples[: self.params.few_shot]
        return shown[self.dropped.get(question.item_id, 0) :]


def prompt_of(style: Style, subject: Subject, examples: list[Question], question: Question) -> str:
    """Return the official prompt with these examples."""
    solved = "".join(f"{example.prompt(style)}{example.answer}\n\n" for example in examples)
    return f"{style.description.format(name=subject.name)}{solved}{question.prompt(style)}"


def item_id(subject: str, question_id: str) -> str:
    """Return the name of a question within its suite (ids repeat across subjects)."""
    return f"{subject}/{question_id}"


@functools.cache
def subject_table(name: str) -> dict[str, dict[str, Any]]:
    """Return the official subjects of an exam: key -> {"name": Chinese name, "category", "marks": [...]}."""
    table: dict[str, dict[str, Any]] = read_json(SUBJECTS_FILE)["cmmlu" if name == "cmmlu" else "ceval"]
    return table
