"""Section `monitor`: what a scheduled look at the live endpoint asks, and what it takes for an alarm."""

from typing import Literal

from pydantic import Field

from tasks.core.params.section import Section

#: What can raise an alarm; `released` is canaries and the version's own evidence, the rest is what callers meet.
Kind = Literal["released", "questions", "answers"]


class MonitorParams(Section):
    """One look."""

    eval_limit: int = Field(ge=1, description="first items of each subject and kind that are asked again")
    window_h: float = Field(gt=0, description="how far back the audit log is read")
    least_questions: int = Field(ge=20, description="fewer in the window, and nothing is said of them")
    drift_max_index: float = Field(gt=0, description="population stability index of what is asked; chance is added")
    answers_margin: float = Field(
        gt=0, lt=1, description="by how much refusals, or answers that say `unknown`, may exceed the evidence's share"
    )
    rollback_on: list[Kind] = Field(description="alarms after which the version before serves again, by itself")
