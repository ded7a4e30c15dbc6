"""Section `evaluate`: which questions every hop is asked, and how."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tasks.core.params.section import Section


class ExamParams(Section):
    """A four-option exam of many subjects: C-Eval, CMMLU, or own questions in C-Eval's schema."""

    name: Literal["ceval", "cmmlu", "ceval_mini"]
    source: Literal["local", "modelscope", "huggingface"]
    path: str
    few_shot: int = Field(ge=0, le=5)
    chat_template: bool
    answer: Literal["loglikelihood", "generation", "both"]
    limit: int | None

    @model_validator(mode="after")
    def _stand_in_keeps_its_name(self) -> "ExamParams":
        if self.source != "local" and self.name == "ceval_mini":
            raise ValueError("a hub carries the exam proper: name must be 'ceval' or 'cmmlu'")
        return self


class DomainParams(Section):
    """A domain pack: a folder with pack.json."""

    path: str
    limit: int | None


class JudgeParams(Section):
    """A second opinion on short answers; where it is and its key come from TUNEGATE_JUDGE_URL and _API_KEY."""

    model: str
    rows: int = Field(ge=1)


class EvaluateParams(Section):
    """What every hop is asked, over HTTP, through one served path."""

    exams: list[ExamParams] = Field(min_length=1)
    domain: DomainParams
    judge: JudgeParams | None = Field(description="null: no judge")
    adapter: Literal["agreement", "full"] = Field(description="what the unmerged adapter is asked")
    max_generated_tokens: int = Field(ge=8)
    heldout_rows: int = Field(ge=1, description="validation rows scored token by token, beside the pack's references")
    concurrency: int = Field(ge=1)
    parity_rows: int = Field(ge=1)

    @field_validator("exams")
    @classmethod
    def _each_exam_once(cls, exams: list[ExamParams]) -> list[ExamParams]:
        names = [exam.name for exam in exams]
        if len(set(names)) < len(names):
            raise ValueError("an exam stands twice")
        return exams
