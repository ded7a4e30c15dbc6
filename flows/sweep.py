"""The flows `sweep` and `trial`: each trial is a run of its own, below the sweep's, and its stages go by DVC's door.

As many at a time as there are cards for, here, or workers of the deployment `trial/later`, which share this checkout;
its queue is that of experiments' stages. One card or none: one after another.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from threading import Event
from typing import Any

from prefect import flow, get_run_logger, task

from flows.elsewhere import run_deployed
from flows.limits import Allowance
from flows.order import gpu_places
from flows.repro import run_through_dvc
from flows.showing import StageProgress
from flows.stages import TRIED_AGAIN
from flows.turns import own_turn
from tasks.core.gpus import find_gpus
from tasks.core.project import Project
from tasks.stages.table import Stage
from tasks.sweep.checkout import environment_of, prepare_checkout
from tasks.sweep.checks import stages_up_to
from tasks.sweep.drive import run_trials
from tasks.sweep.store import Sweep, open_sweep

#: Set when nobody waits for the trials of this process any more. No parameter of a flow: it is in no run's record.
_ENDED: ContextVar[Event | None] = ContextVar("ended", default=None)


@flow(name="trial", flow_run_name="{sweep} trial {number}", persist_result=False)
def trial(sweep: str, number: int) -> None:
    """Run the stages of one trial of a sweep, up to the evaluation of its hop.

    Args:
        sweep: name of the sweep; its folder is in this checkout.
        number: of the trial, whose settings were written down there.
    """
    found = open_sweep(Project.here(), sweep)
    folder, allowance = prepare_checkout(found, number), _allowance(found)
    for stage in stages_up_to(found.plan.hop):
        _stage_task(stage, found, folder, allowance)()


@flow(name="sweep", flow_run_name="sweep {name}", persist_result=False)
def sweep(name: str, keep: bool = False, deployment: str | None = None) -> dict[str, Any]:
    """Run the trials of a sweep that have not ended, and compare them.

    Args:
        name: of the sweep, whose folder `tunegate sweep run` made.
        keep: leave the trials' checkouts where they are, and what they started from.
        deployment: runs each trial, e.g. `trial/later`; None runs them in this process.

    Returns:
        What tasks.sweep.comparison.conclude returns, and the winner's settings.
    """
    found = open_sweep(Project.here(), name)
    _ENDED.set(ended := Event())
    places = gpu_places(found.settings, deployment)
    return run_trials(found, _runner(found, deployment), keep=keep, places=places, stop=ended.set)


def _runner(found: Sweep, deployment: str | None) -> Callable[[int], None]:
    """Return what runs a trial by its number."""
    if deployment is None:
        return lambda number: trial(found.name, number)

    def handed_over(number: int) -> None:
        allowance, given = _allowance(found), {"sweep": found.name, "number": number}
        if reason := run_deployed(f"trial {number}", deployment, given, get_run_logger(), allowance).reason:
            raise reason

    return handed_over


def _allowance(sweep: Sweep) -> Allowance:
    """Return the time that a trial which begins now may take."""
    return Allowance(sweep.settings.limits, time.monotonic(), _ENDED.get() or Event())


def _stage_task(stage: Stage, sweep: Sweep, trial_project: Project, allowance: Allowance) -> Callable[[], None]:
    """Return the Prefect task of one stage of a trial."""
    environment = environment_of(sweep, trial_project)

    def body() -> None:
        seen = StageProgress(stage.name).see
        with _turn(stage, sweep, trial_project, allowance):
            run_through_dvc(stage, trial_project, get_run_logger(), allowance, on_line=seen, environment=environment)

    # Tasks made in a loop share this function's name; Prefect keys them by qualified name.
    body.__name__ = body.__qualname__ = stage.name
    body.__doc__ = f"Run the stage {stage.name} of a trial."
    return task(name=stage.name, persist_result=False, **TRIED_AGAIN)(body)


def _turn(stage: Stage, sweep: Sweep, trial_project: Project, allowance: Allowance) -> AbstractContextManager[None]:
    """Return what a stage waits for, as those of the checkout's runs do; cards it leases itself."""
    if stage.gpu and find_gpus():
        return nullcontext()
    what = f"{stage.name} in {sweep.name} trial {trial_project.root.name}"
    return own_turn(sweep.project, what, urgent=False, say=get_run_logger().info,
                    look=lambda: allowance.stage_s(stage.name))  # fmt: skip
