"""How long a run and each of its stages may take: `limits` in params.yaml, kept by ending the stage's process.

Prefect's own `timeout_seconds` is no way to it for a flow that waits for a child process: it raises in the waiting
thread, by a signal that only the outermost of two limits gets, and the child goes on.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import TunegateError
from tasks.core.params.orchestration import LimitsParams
from tasks.core.progress import duration

log = logging.getLogger(__name__)

#: Between asking a stage to end (training writes a checkpoint) and ending it.
GRACE_S = 60.0


@dataclass(frozen=True)
class Allowance:
    """The time that is left to a run and its stages.

    Args:
        limits: of params.yaml.
        began: monotonic clock at the run's start.
    """

    limits: LimitsParams
    began: float

    @classmethod
    def begin(cls, limits: LimitsParams) -> "Allowance":
        """Return the allowance of a run that begins now."""
        return cls(limits, time.monotonic())

    def stage_s(self, name: str) -> float:
        """Return how long a stage that begins now may take.

        Raises:
            TunegateError: the run has taken its time already.
        """
        left = self.limits.run_timeout_s - (time.monotonic() - self.began)
        if left <= 0:
            raise self.over(name, left)
        return min(left, self.limits.stage_timeout_s)

    def over(self, name: str, allowed_s: float) -> TunegateError:
        """Return the error for a stage that was ended after what `stage_s` allowed."""
        whole = allowed_s < self.limits.stage_timeout_s
        key = "run_timeout_s" if whole else "stage_timeout_s"
        what = f"the run, at stage {name}," if whole else f"stage {name}"
        return TunegateError(
            f"{what} took longer than {duration(getattr(self.limits, key))} (limits.{key})",
            f"see where its log stops; raise limits.{key} in params.yaml, then run again: training resumes",
        )


@contextmanager
def ended_after(
    process: "subprocess.Popen[str] | subprocess.Popen[bytes]", seconds: float, grace_s: float = GRACE_S
) -> Iterator[threading.Event]:
    """End a child's process group where the body of the `with` takes longer; the event is set where that happened.

    The group gets SIGTERM, and SIGKILL after the grace time. The body waits for the child (its output ends with it).

    Args:
        process: a child that leads its own group (`start_new_session=True`).
        seconds: how long it may take.
        grace_s: between the two signals.
    """
    over, done = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        over.set()
        log.error("process %d took longer than %s; it is ended", process.pid, duration(seconds))
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 0.0)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            deadline = time.monotonic() + wait_s
            while _group_lives(process.pid) and time.monotonic() < deadline:
                time.sleep(min(0.2, grace_s))

    thread = threading.Thread(target=watch, name=f"limit-{process.pid}", daemon=True)
    thread.start()
    try:
        yield over
    finally:
        done.set()
        if over.is_set():
            thread.join()


def _group_lives(group: int) -> bool:
    """Return whether any process of a group runs (one that waits to be collected does not)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False
