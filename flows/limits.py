"""How long a run and each of its stages may take: `limits` in params.yaml, kept by ending the stage's processes.

Prefect's own `timeout_seconds` is no way to it for a flow that waits for a child process: it raises in the waiting
thread, by a signal that only the outermost of two limits gets, and the child goes on.
"""

import time
from dataclasses import dataclass, field
from threading import Event

from tasks.core.errors import TunegateError
from tasks.core.params.orchestration import LimitsParams
from tasks.core.progress import duration


@dataclass(frozen=True)
class Allowance:
    """The time that is left to a run and its stages.

    Args:
        limits: of params.yaml.
        began: monotonic clock at the run's start.
        ended: set when nobody waits for the run any more: its stages, in threads of their own, end then.
    """

    limits: LimitsParams
    began: float
    ended: Event = field(default_factory=Event, compare=False, repr=False)

    @classmethod
    def begin(cls, limits: LimitsParams) -> "Allowance":
        """Return the allowance of a run that begins now."""
        return cls(limits, time.monotonic())

    def stage_s(self, name: str) -> float:
        """Return how long a stage that begins now may take.

        Raises:
            TunegateError: the run has taken its time already, or has been ended.
        """
        if self.ended.is_set():
            raise self.over(name, 0.0)
        left = self.limits.run_timeout_s - (time.monotonic() - self.began)
        if left <= 0:
            raise self.over(name, left)
        return min(left, self.limits.stage_timeout_s)

    def over(self, name: str, allowed_s: float) -> TunegateError:
        """Return the error for a stage that was ended after what `stage_s` allowed, or with its run."""
        if self.ended.is_set():
            return TunegateError(f"stage {name} was ended with its run", "run again: finished stages are kept")
        whole = allowed_s < self.limits.stage_timeout_s
        key = "run_timeout_s" if whole else "stage_timeout_s"
        what = f"the run, at stage {name}," if whole else f"stage {name}"
        return TunegateError(
            f"{what} took longer than {duration(getattr(self.limits, key))} (limits.{key})",
            f"see where its log stops; raise limits.{key} in params.yaml, then run again: training resumes",
        )
