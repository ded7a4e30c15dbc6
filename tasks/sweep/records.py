"""A sweep in MLflow: a parent run, and below it one for each trial; what MLflow is away for the next call sends."""

import logging
from typing import Any

from tasks.core.errors import TransientError
from tasks.core.tracking import LINEAGE_TAG, record_run
from tasks.sweep.store import DONE, Sweep

log = logging.getLogger(__name__)

SWEEP_TAG, ID_TAG, TRIAL_TAG = "tunegate.sweep", "tunegate.sweep_id", "tunegate.trial"
#: MLflow's own tag for a run below another.
PARENT_TAG = "mlflow.parentRunId"
#: Characters of what MLflow's client says that are worth a line.
SAID = 120


def record_start(sweep: Sweep) -> None:
    """Record that there is a sweep, before any trial makes MLflow's experiment with a place for files of its own."""
    try:
        _record_parent(sweep, {})
    except TransientError as error:
        log.warning("sweep %s: not in MLflow yet: %s", sweep.name, error.message[:SAID])


def record_trial(sweep: Sweep, line: dict[str, Any]) -> None:
    """Record a trial that is done; where MLflow is away, say so and go on: the end records all of them again."""
    try:
        _record_trial(sweep, _record_parent(sweep, {}), line)
    except TransientError as error:
        log.warning("sweep %s: not in MLflow yet: %s", sweep.name, error.message[:SAID])


def record_result(sweep: Sweep, result: dict[str, Any]) -> None:
    """Record every trial, and in the parent who won and what the held-out half says; later, where MLflow is away."""
    metrics = {"winner": float(result["winner"]), "compared": float(result["compared"]), "present": result["present"]}
    if found := result["heldout"]:
        numbers = {name: found[name] for name in ("value", "difference", "p_value")}
        metrics |= {f"heldout_{name}": value for name, value in numbers.items() if value is not None}
    try:
        parent = _record_parent(sweep, metrics)
        for line in sweep.trials():
            _record_trial(sweep, parent, line)
    except TransientError as error:
        log.warning("sweep %s: not all of it is in MLflow (%s); tunegate sweep run %s sends the rest",
                    sweep.name, error.message[:SAID], sweep.name)  # fmt: skip


def _record_parent(sweep: Sweep, metrics: dict[str, float]) -> str:
    """Have the parent run and return its id."""
    plan = sweep.plan
    params = {"metric": plan.metric, "hop": plan.hop, "sampler": plan.sampler}
    return record_run(sweep.project, f"sweep {sweep.name}", _tags(sweep, "all"), params, metrics)


def _record_trial(sweep: Sweep, parent: str, line: dict[str, Any]) -> None:
    """Have the run of one trial."""
    if line["status"] != DONE:
        return
    tags = _tags(sweep, str(line["trial"])) | {PARENT_TAG: parent}
    if line["lineage_id"]:
        tags[LINEAGE_TAG] = line["lineage_id"]
    name = f"sweep {sweep.name} trial {line['trial']}"
    record_run(sweep.project, name, tags, line["settings"], {f"selection_{sweep.plan.metric}": line["value"]})


def _tags(sweep: Sweep, trial: str) -> dict[str, str]:
    """Return what a run is found again by: a name may be used anew."""
    return {SWEEP_TAG: sweep.name, ID_TAG: sweep.facts["id"], TRIAL_TAG: trial}
