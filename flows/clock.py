"""Where a run's time went, stage by stage, and where it went the time before."""

import time
from typing import Any

from tasks.core.files import read_json, write_json
from tasks.core.progress import duration
from tasks.core.project import Project

BAR_CHARACTERS = 32
#: What is no stage's: Prefect, DVC, MLflow, the deployment.
REST = "all else"
#: Before the first stage: imports, and Prefect's temporary server.
START = "starting Prefect"


class RunClock:
    """Measures the parts of one run and keeps them for the next.

    Args:
        project: its state folder holds the record.
    """

    def __init__(self, project: Project) -> None:
        self.path = project.state / "runs" / "pipeline.json"
        self.before: dict[str, float] = read_json(self.path)["seconds"] if self.path.is_file() else {}
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}
        #: When each part began and ended; two may have been under way at the same time.
        self.spans: list[tuple[float, float]] = []

    def add(self, name: str, seconds: float) -> None:
        """Note what one part took that has just ended."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        now = time.monotonic()
        self.spans.append((now - seconds, now))

    def close(self) -> dict[str, Any]:
        """Keep this run's parts for the next one and return both; a part that was not run keeps its last time."""
        rest = time.monotonic() - self.began - covered(self.spans)
        ran = self.seconds | {REST: round(max(rest, 0.0), 1)}
        write_json(self.path, {"seconds": self.before | ran})
        return {"seconds": ran, "seconds_before": self.before}


def covered(spans: list[tuple[float, float]]) -> float:
    """Return how long at least one of some spans (begin, end) lasted, in seconds."""
    total, until = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def since_start(times: dict[str, Any], total_s: float) -> dict[str, Any]:
    """Return a run's parts with what came before them: who waits has waited for that too.

    Args:
        times: what `RunClock.close` returned, among other things.
        total_s: seconds since the command began.
    """
    start = max(total_s - sum(times["seconds"].values()), 0.0)
    return times | {"seconds": {START: round(start, 1)} | times["seconds"]}


def bars(times: dict[str, Any]) -> list[str]:
    """Return a run's parts as lines: a bar each, its time, and what it took the time before.

    Args:
        times: what `RunClock.close` returned.
    """
    ran, before = times["seconds"], times["seconds_before"]
    longest = max(ran.values(), default=0.0) or 1.0
    total = sum(ran.values())
    lines = [f"where the time went: {duration(total)}"]
    for name, seconds in ran.items():
        bar = "█" * max(1, round(BAR_CHARACTERS * seconds / longest))
        earlier = f"  (before: {duration(before[name])})" if name in before else ""
        lines.append(f"  {name:<18} {bar:<{BAR_CHARACTERS}} {duration(seconds):>8}{earlier}")
    return lines
