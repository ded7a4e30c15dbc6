"""`dvc repro --single-item NAME` as a command of ours: what it says, whom it waits for, and why it failed."""

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from logging import Logger, LoggerAdapter
from pathlib import Path

import psutil

from flows.limits import Allowance
from flows.owned import OwnedCommand
from tasks.core.errors import TransientError, TunegateError
from tasks.core.keeper import below, signal_name
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.machine.out_of_memory import MemoryWatch
from tasks.stages.dvc_lock import Holder, holder_of
from tasks.stages.failures import clear_failure, recorded_failure
from tasks.stages.table import Stage

AnyLogger = Logger | LoggerAdapter[Logger]

#: DVC's own lines, and a stage's closing JSON, that tell a reader of the flow's log nothing.
DVC_CHATTER = (
    "{", "Stage '", "Running stage", "> ", "Generating lock", "Updating lock", "To track the changes", "git add ",
    "To enable auto staging", "dvc config core.autostage", "Use `dvc push`", "Data and pipelines are up to date",
)  # fmt: skip
STARTED = "Running stage"
UNCHANGED = "didn't change, skipping"
#: DVC 3.67's words where another command has the files of a stage (its lock on the workspace is waited for).
_BUSY = re.compile(r"is busy, it is being blocked by:|Unable to acquire lock")
_BLOCKER = re.compile(r"\(PID (\d+)\): (.*)")
#: How a command of a stage ended, in DVC's words: a signal is negative, or 128 more where a shell stood between.
_EXITED = re.compile(r"exited with (-?\d+)")

#: How long a stage waits to start for a command that holds DVC's lock. A finished stage waits until it is recorded.
LOCK_WAIT_S = 1800.0
LOCK_LOOK_S = 2.0
SAY_EVERY_S = 60.0
LINES_QUOTED = 8
#: Words of a stage's own log lines.
LEVELS = {name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}


def run_through_dvc(
    stage: Stage,
    project: Project,
    logger: AnyLogger,
    allowance: Allowance | None = None,
    on_line: Callable[[str], None] | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    """Let DVC decide whether a stage is to be run, run it, and pass its lines on.

    A logger that fails does not end the stage: it goes on, DVC records it, and then the logger's error is raised.

    Args:
        stage: what to run.
        project: where.
        logger: of the flow or task run.
        allowance: how long it may take; as long as it likes where None.
        on_line: is given what the stage says, line by line.
        environment: of the command; this process's where None.

    Raises:
        TunegateError: what the stage refused, as the exception it raised, or that it took too long; TransientError
            where another command holds DVC's lock for longer than half an hour.
    """
    clear_failure(project, stage.name)
    allowed_s = allowance.stage_s(stage.name) if allowance else float("inf")
    watch = Watch(stage, project, logger, allowed_s, allowance)
    try:
        while busy := _run_once(stage, project, Reader(stage, logger, on_line), watch, environment):
            if time.monotonic() > watch.lock_deadline:
                raise _locked(stage, busy)
            logger.warning("%s: waits for %s", stage.name, busy)
            time.sleep(LOCK_LOOK_S)
    except TunegateError as error:
        if watch.over and allowance:
            raise allowance.over(stage.name, allowed_s) from error
        raise


def _run_once(
    stage: Stage, project: Project, reader: "Reader", watch: "Watch", environment: dict[str, str] | None
) -> str | None:
    """Run DVC once; return who holds what the stage needs where DVC refuses for that, None where it was done."""
    log = project.own / "logs" / "stages" / f"{stage.name}-{os.getpid()}.log"
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", stage.name]
    with OwnedCommand(command, project.root, log, environment or os.environ.copy()) as owned:
        for line in owned.lines():
            if line is None:
                watch.look(owned, started=reader.started)
            else:
                reader.take(line)
    if owned.code:
        if busy := _blockers(reader.lines):
            return busy
        raise recorded_failure(project, stage.name) or _unexplained(stage, owned, reader.lines, watch.memory)
    _forget_logs(log)
    if reader.broken:
        raise reader.broken
    return None


class Reader:
    """What DVC and the stage say, passed on to a logger.

    Args:
        stage: who speaks.
        logger: of the flow or task run.
        on_line: is given each line that is passed on.
    """

    def __init__(self, stage: Stage, logger: AnyLogger, on_line: Callable[[str], None] | None = None) -> None:
        self.stage, self.logger, self.on_line = stage, logger, on_line
        self.lines: list[str] = []
        self.started = False
        self.broken: Exception | None = None

    def take(self, line: str) -> None:
        """Keep a line, and tell it where it says something."""
        self.lines.append(line)
        self.started = self.started or line.startswith(STARTED)
        if line.endswith(UNCHANGED):
            self._tell(logging.INFO, f"{self.stage.name}: unchanged")
        elif line and not line.startswith(DVC_CHATTER):
            self._tell(*_without_clock(line))

    def _tell(self, level: int, text: str) -> None:
        """Log a line; after the first failure no more, for the stage is worth more than its lines."""
        if self.broken is None:
            try:
                self.logger.log(level, "%s", text)
                if self.on_line:
                    self.on_line(text)
            except Exception as error:  # noqa: BLE001 (raised again, when the stage is recorded)
                self.broken = error


class Watch:
    """Looks, while DVC runs, at the clock, at memory and at who holds DVC's lock.

    Args:
        stage: which is run.
        project: where.
        logger: gets a line a minute while somebody else's command is waited for.
        allowed_s: how long the stage may take, the wait for others included.
        allowance: of its run, which may be ended meanwhile.
    """

    def __init__(
        self, stage: Stage, project: Project, logger: AnyLogger, allowed_s: float, allowance: Allowance | None = None
    ) -> None:
        self.stage, self.project, self.logger, self.allowed_s = stage, project, logger, allowed_s
        self.allowance = allowance
        self.began = time.monotonic()
        self.lock_deadline = self.began + LOCK_WAIT_S
        self.over = False
        self.memory = MemoryWatch()
        self.since: float | None = None
        self.looked = self.told = float("-inf")

    def look(self, owned: OwnedCommand, *, started: bool) -> None:
        """Look, every few seconds.

        Raises:
            TransientError: DVC cannot start, another command holds its lock too long.
        """
        now = time.monotonic()
        if now - self.looked < LOCK_LOOK_S:
            return
        self.looked = now
        self.memory.look()
        self._end_in_time(owned, now)
        holder = holder_of(self.project)
        if holder is None or holder.pid in (child.pid for child in below(owned.pid)):
            self.since = None
            return
        self.since = self.since or now
        # While the stage's command runs anybody may have the lock: only before and after it DVC waits.
        if not started and now > self.lock_deadline:
            raise _locked(self.stage, holder)
        if now - self.since > LOCK_LOOK_S and now - self.told > SAY_EVERY_S and (not started or _ends(owned.pid)):
            self.told = now
            self.logger.warning("%s: DVC waits for its lock, held by %s for %s", self.stage.name, holder,
                                duration(now - self.since))  # fmt: skip

    def _end_in_time(self, owned: OwnedCommand, now: float) -> None:
        """End a stage that takes longer than it may, or whose run has been ended."""
        if self.over:
            return
        if self.allowance and self.allowance.ended.is_set():
            self.over = True
            owned.end()
        elif now - self.began > self.allowed_s:
            self.over = True
            self.logger.error("%s took longer than %s; it is ended", self.stage.name, duration(self.allowed_s))
            owned.end()


def _locked(stage: Stage, holder: Holder | str) -> TransientError:
    """Return the error for a stage that could not start because of another DVC command."""
    return TransientError(
        f"stage {stage.name}: DVC's lock is held by {holder}; waited {duration(LOCK_WAIT_S)}",
        "let it end, or end it; then run the same command again: finished stages are kept",
    )


def _blockers(lines: list[str]) -> str | None:
    """Return who has what the stage needs, where DVC refused for that reason, from DVC's own words."""
    said = "\n".join(line for line in lines if not line.startswith("> "))
    if not _BUSY.search(said):
        return None
    found = _BLOCKER.findall(said)
    return ", ".join(f"`{command.strip()}` (pid {pid})" for pid, command in found) or "another DVC command"


def _ends(pid: int) -> bool:
    """Return whether DVC runs with no command of a stage below it (any more)."""
    return len(below(pid)) <= 1  # DVC


def _unexplained(stage: Stage, owned: OwnedCommand, lines: list[str], memory: MemoryWatch) -> TunegateError:
    """Return the error for a stage that left no reason: ended by a signal, or refused by DVC itself."""
    said = "\n  ".join(line for line in lines[-LINES_QUOTED:] if line) or "(nothing)"
    last = f"its last lines:\n  {said}"
    again = "run the same command again: finished stages are kept and training resumes from its checkpoint"
    exited = _EXITED.findall("\n".join(lines))
    code = int(exited[-1]) if exited else 0
    number = owned.signal or (-code if code < 0 else code - 128 if 128 < code < 128 + 65 else None)
    if number == signal.SIGKILL and (reason := memory.verdict()):
        return TunegateError(
            f"stage {stage.name} was killed, out of memory: {reason}; {last}",
            "close other programs, or use a smaller profile or batch (tunegate doctor); then " + again,
        )
    if number:
        return TunegateError(
            f"stage {stage.name} was ended by signal {number} ({signal_name(number)}) from outside; {last}", again
        )
    if exited:
        return TunegateError(f"stage {stage.name} ended with exit code {code} and left no reason; {last}", again)
    return TunegateError(f"stage {stage.name}: DVC refused to run it; {last}", "mend what it names, then " + again)


def _forget_logs(done: Path) -> None:
    """Delete the output of a stage that is recorded, and what earlier failures of it left."""
    stem = done.stem.rpartition("-")[0]
    for path in done.parent.glob(f"{stem}-*.log"):
        pid = path.stem.rpartition("-")[2]
        if path == done or not (pid.isdigit() and psutil.pid_exists(int(pid))):
            path.unlink(missing_ok=True)


def _without_clock(line: str) -> tuple[int, str]:
    """Return the level of a stage's log line, and the line without its clock and level: Prefect writes both again."""
    parts = line.split(maxsplit=2)
    if len(parts) == 3 and parts[0].count(":") == 2 and parts[1] in LEVELS:
        return LEVELS[parts[1]], parts[2]
    return logging.INFO, line
