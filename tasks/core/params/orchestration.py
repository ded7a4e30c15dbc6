"""Sections of the control plane: `limits` (how long), `hand_over` (between machines), `schedule` (when by itself)."""

from datetime import UTC, datetime
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from tasks.core.params.section import Section


class LimitsParams(Section):
    """How long a whole run, and one stage of it, may take before it is ended."""

    run_timeout_s: float = Field(gt=0)
    stage_timeout_s: float = Field(gt=0)


class HandOverParams(Section):
    """How a stage on another machine gets its inputs and gives its outputs.

    Args:
        remote: name of a DVC remote that every machine has under this name; None where the workers share one folder.
        branch: what the branches are called on which finished runs are kept, before `/`; None keeps none.
        push_to: the git remote that gets them; None leaves them in the clone of the machine that ran the pipeline.
    """

    remote: str | None = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    branch: str | None = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")
    push_to: str | None = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")

    @model_validator(mode="after")
    def _require_branch(self) -> Self:
        """Refuse to push what is not kept."""
        if self.push_to and not self.branch:
            raise ValueError("push_to names a git remote, and branch is null: write branch: runs")
        return self


def _cron(value: str) -> str:
    """Refuse what is no cron expression, or one of no day.

    Prefect reads cron by another library: what the two read differently (seconds, LW) is refused too.
    """
    if len(value.split()) != 5 or "LW" in value.upper():
        raise ValueError(f"{value!r} is no cron expression of five fields")
    try:
        next(CronSim(value, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{value!r} is no cron expression of five fields: {error}") from error
    except StopIteration as error:
        raise ValueError(f"{value!r} never comes") from error
    return value


def _zone(value: str) -> str:
    """Refuse what is no time zone of the IANA database."""
    try:
        ZoneInfo(value)
    except (LookupError, OSError, ValueError) as error:
        raise ValueError(f"{value!r} is no time zone; write one as Asia/Shanghai") from error
    return value


class ScheduledParams(Section):
    """When one deployment runs by itself."""

    cron: Annotated[str, AfterValidator(_cron)]
    active: bool


class ScheduleParams(Section):
    """What runs by itself; a schedule's name is its deployment's in infra/prefect.yaml."""

    timezone: Annotated[str, AfterValidator(_zone)]
    nightly: ScheduledParams
    reconcile: ScheduledParams
    monitor: ScheduledParams
