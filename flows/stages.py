"""One Prefect task per stage: it runs `dvc repro --single-item NAME` in a fresh process, here or on another pool."""

import os
import subprocess
from collections.abc import Callable
from logging import Logger, LoggerAdapter
from typing import Any

from prefect import get_run_logger, task
from prefect.deployments import run_deployment

from flows.outcome import error_of
from tasks.core.errors import TransientError, TunegateError
from tasks.core.project import Project
from tasks.stages.failures import clear_failure, recorded_failure
from tasks.stages.table import Stage

TRANSIENT_RETRIES = 2
RETRY_DELAY_S = 20

#: DVC's own lines, and a stage's closing JSON, that tell a reader of the flow's log nothing.
DVC_CHATTER = (
    "{", "Stage '", "Running stage", "> ", "Generating lock", "Updating lock", "To track the changes", "git add ",
    "To enable auto staging", "dvc config core.autostage", "Use `dvc push`", "Data and pipelines are up to date",
)  # fmt: skip


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether a failed task may be tried again: only what an unreachable outside caused.

    Prefect 3.8.8 gives a task's retry condition the exception itself as the state's data. `state.result()` is no way
    to it: inside a running event loop it returns a coroutine.
    """
    return isinstance(state.data, TransientError)


def stage_task(stage: Stage, gpu_deployment: str | None) -> Callable[[], None]:
    """Return the Prefect task of a stage, called like the stage.

    Args:
        stage: what to run.
        gpu_deployment: deployment (`flow/name`) that runs stages needing a GPU on their own work pool; None runs
            every stage in a process on this machine.
    """

    def body() -> None:
        project = Project.here()
        if stage.gpu and gpu_deployment:
            _run_elsewhere(stage, gpu_deployment, project, get_run_logger())
        else:
            run_through_dvc(stage, project, get_run_logger())

    # Tasks made in a loop share this function's name; Prefect keys them by qualified name.
    body.__name__ = body.__qualname__ = stage.name
    body.__doc__ = f"Run the stage {stage.name}."
    as_task = task(
        name=stage.name, retries=TRANSIENT_RETRIES, retry_delay_seconds=RETRY_DELAY_S,
        retry_condition_fn=is_transient, persist_result=False,
    )  # fmt: skip
    return as_task(body)


def run_through_dvc(stage: Stage, project: Project, logger: "Logger | LoggerAdapter[Logger]") -> None:
    """Let DVC decide whether a stage is to be run, run it, and pass its lines on.

    Raises:
        TunegateError: what the stage refused, as the exception it raised.
    """
    clear_failure(project, stage.name)
    command = ["dvc", "repro", "--single-item", stage.name]
    with subprocess.Popen(
        command, cwd=project.root, env=os.environ.copy(), text=True, encoding="utf-8", errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        lines = []
        for line in process.stdout or ():
            lines.append(line.strip())
            if lines[-1] and not lines[-1].startswith(DVC_CHATTER):
                logger.info("%s", _without_clock(lines[-1]))
    if any(line.endswith("didn't change, skipping") for line in lines):
        logger.info("%s: unchanged", stage.name)
    if process.returncode:
        raise recorded_failure(project, stage.name) or _unexplained(stage, lines)


def _run_elsewhere(stage: Stage, deployment: str, project: Project, logger: "Logger | LoggerAdapter[Logger]") -> None:
    """Run a stage as a run of another deployment and wait for it.

    Raises:
        TunegateError: what the stage refused; TransientError where its worker was lost.
    """
    clear_failure(project, stage.name)
    logger.info("%s: as a run of %s; it waits for a worker of that pool", stage.name, deployment)
    run: Any = run_deployment(deployment, parameters={"name": stage.name}, timeout=None, as_subflow=True)
    # A worker on another machine left its reason in its own checkout; its run's state carries it too.
    if error := recorded_failure(project, stage.name) or error_of(run.state):
        raise error


def _unexplained(stage: Stage, lines: list[str]) -> TunegateError:
    """Return the error for a stage that ended without saying why: killed, or refused by DVC itself."""
    said = "\n  ".join(line for line in lines[-8:] if line)
    return TunegateError(
        f"stage {stage.name} ended without saying why (killed? out of memory?); its last lines:\n  {said}",
        "run the same command again: finished stages are kept and training resumes from its checkpoint",
    )


def _without_clock(line: str) -> str:
    """Return a stage's log line without its own clock and level: Prefect writes both again."""
    parts = line.split(maxsplit=2)
    if len(parts) == 3 and parts[0].count(":") == 2 and parts[1] in ("INFO", "WARNING", "ERROR"):
        return parts[2]
    return line
