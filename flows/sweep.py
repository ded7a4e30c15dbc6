"""The flows `sweep` and `trial`: each trial is a run of its own, below the sweep's, and its stages go by DVC's door.

One after another: here, or as runs of the deployment `trial/later`, whose worker shares this checkout. Its queue is
that of experiments' stages.
"""

from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task

from flows.elsewhere import run_deployed
from flows.limits import Allowance
from flows.repro import run_through_dvc
from flows.showing import StageProgress
from flows.stages import TRIED_AGAIN
from tasks.core.project import Project
from tasks.stages.table import Stage
from tasks.sweep.checkout import environment_of, prepare_checkout
from tasks.sweep.checks import stages_up_to
from tasks.sweep.drive import run_trials
from tasks.sweep.store import Sweep, open_sweep


@flow(name="trial", flow_run_name="{sweep} trial {number}", persist_result=False)
def trial(sweep: str, number: int) -> None:
    """Run the stages of one trial of a sweep, up to the evaluation of its hop.

    Args:
        sweep: name of the sweep; its folder is in this checkout.
        number: of the trial, whose settings were written down there.
    """
    found = open_sweep(Project.here(), sweep)
    folder, allowance = prepare_checkout(found, number), Allowance.begin(found.settings.limits)
    with environment_of(found, folder):
        for stage in stages_up_to(found.plan.hop):
            _stage_task(stage, folder, allowance)()


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
    return run_trials(found, _runner(found, deployment), keep=keep)


def _runner(found: Sweep, deployment: str | None) -> Callable[[int], None]:
    """Return what runs a trial by its number."""
    if deployment is None:
        return lambda number: trial(found.name, number)

    def handed_over(number: int) -> None:
        allowance, given = Allowance.begin(found.settings.limits), {"sweep": found.name, "number": number}
        if reason := run_deployed(f"trial {number}", deployment, given, get_run_logger(), allowance).reason:
            raise reason

    return handed_over


def _stage_task(stage: Stage, trial_project: Project, allowance: Allowance) -> Callable[[], None]:
    """Return the Prefect task of one stage of a trial."""

    def body() -> None:
        run_through_dvc(stage, trial_project, get_run_logger(), allowance, on_line=StageProgress(stage.name).see)

    # Tasks made in a loop share this function's name; Prefect keys them by qualified name.
    body.__name__ = body.__qualname__ = stage.name
    body.__doc__ = f"Run the stage {stage.name} of a trial."
    return task(name=stage.name, persist_result=False, **TRIED_AGAIN)(body)
