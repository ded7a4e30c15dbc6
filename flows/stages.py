"""One Prefect task per stage: it runs `dvc repro --single-item NAME` in a fresh process, here or on another pool."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import Task, get_run_logger, task

from flows.elsewhere import run_elsewhere
from flows.limits import Allowance
from flows.repro import run_through_dvc
from flows.run import Run
from flows.showing import StageProgress
from flows.transient import may_work_next_time
from flows.turns import own_turn
from tasks.core.gpus import find_gpus
from tasks.stages.table import Stage

#: Seconds before each new try: together longer than five minutes without a server.
RETRY_DELAYS_S = [10, 30, 60, 120, 120]


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether a failed task may be tried again: only what an unreachable outside caused.

    Prefect 3.8.8 gives a task's retry condition the exception itself as the state's data. `state.result()` is no way
    to it: inside a running event loop it returns a coroutine.
    """
    return may_work_next_time(state.data)


#: Settings of a task that an unreachable outside only delays.
TRIED_AGAIN: dict[str, Any] = {
    "retries": len(RETRY_DELAYS_S), "retry_delay_seconds": RETRY_DELAYS_S, "retry_condition_fn": is_transient,
}  # fmt: skip


def stage_task(
    stage: Stage, run: Run, gpu_deployment: str | None, allowance: Allowance, *, unchanged: bool = False
) -> Task[[], None]:
    """Return the Prefect task of a stage, called like the stage.

    Args:
        stage: what to run.
        run: whose stage it is.
        gpu_deployment: deployment (`flow/name`) that runs stages needing a GPU on their own work pool; None runs
            every stage in a process on this machine.
        allowance: the time that is left to the run.
        unchanged: DVC was asked already, and has it as recorded.
    """

    def body() -> None:
        if unchanged:
            get_run_logger().info("%s: unchanged", stage.name)
        elif stage.gpu and gpu_deployment:
            run_elsewhere(stage, gpu_deployment, run, get_run_logger(), allowance)
        else:
            with _turn(stage, run, allowance):
                run_through_dvc(stage, run.project, get_run_logger(), allowance, on_line=StageProgress(stage.name).see)

    # Tasks made in a loop share this function's name; Prefect keys them by qualified name.
    body.__name__ = body.__qualname__ = stage.name
    body.__doc__ = f"Run the stage {stage.name}."
    return task(name=stage.name, persist_result=False, **TRIED_AGAIN)(body)


def _turn(stage: Stage, run: Run, allowance: Allowance) -> AbstractContextManager[None]:
    """Return what a stage on this machine waits for; cards it leases itself, one by one."""
    if stage.gpu and find_gpus():
        return nullcontext()
    what = f"{stage.name} in {run.project.root.name}"
    return own_turn(run.project, what, urgent=run.urgent, say=get_run_logger().info,
                    look=lambda: allowance.stage_s(stage.name))  # fmt: skip
