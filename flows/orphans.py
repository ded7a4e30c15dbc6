"""Runs that nobody executes any more: found by their worker's name and this machine's processes, and ended.

A run that is Running or Pending holds its queue's place. After a reboot, or when worker and run were killed, nothing
would free it and the next night would not start.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.processes import CannotTellError, runs_here

log = logging.getLogger(__name__)

WORKER = "prefect.worker.name"
PAGE = 200
#: A run between its worker's word and its process's start, or between its end and its last state, is left alone.
SETTLED = timedelta(minutes=2)
#: A run that no worker has put its name to for so long has been dropped by all.
DROPPED = timedelta(minutes=10)
#: Starts that were missed by more than this are missed for good.
MISSED = timedelta(minutes=1)


def sweep(client: Any, workers: Iterable[str], deployments: Iterable[Any], *, settled: timedelta = SETTLED) -> None:
    """End the runs of these workers that have no process here, and the starts that nobody was there for.

    Runs of other hosts and runs with a process are not touched.

    Args:
        client: Prefect's sync client.
        workers: names of the workers of this host.
        deployments: ids of this project's; a server may have others'.
        settled: for how long a run must have been as it is.
    """
    names, own = set(workers), set(deployments)
    for run in _under_way(client):
        if _ended_here(run, names, settled) or (run.deployment_id in own and _dropped(run)):
            _end(client, run)
    _skip_missed(client, own)


def _under_way(client: Any) -> list[Any]:
    """Return the runs that hold a place in a queue, or are being cancelled."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    kinds = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    return _all(client, FlowRunFilter(state=FlowRunFilterState(type=kinds)))


def _ended_here(run: Any, workers: set[str], settled: timedelta) -> bool:
    """Return whether a run was given to one of these workers and no process here executes it.

    The processes are looked at after the run was read: one that starts in between is seen.
    """
    if run.labels.get(WORKER) not in workers or _age(run) < settled:
        return False
    try:
        return str(run.id) not in runs_here()
    except CannotTellError as error:
        log.warning("run %s is left as it is: %s", run.name, error)
        return False


def _dropped(run: Any) -> bool:
    """Return whether a run waits for a worker that took it and died before it put its name to it."""
    nobody = run.state.is_pending() and not run.labels.get(WORKER) and not run.infrastructure_pid
    return bool(nobody and _age(run) > DROPPED)


def _age(run: Any) -> timedelta:
    """Return how long a run has been in its state."""
    return datetime.now(UTC) - run.state.timestamp


def _end(client: Any, run: Any) -> None:
    """Give a run that nobody executes its last state, and call off what it was waiting for."""
    from prefect.states import Cancelled, Crashed

    why = f"no process of worker {run.labels.get(WORKER) or '(none)'} executes it (process {run.infrastructure_pid})"
    # Who is being cancelled can only become Cancelled.
    state: Any = Cancelled(message=why) if run.state.is_cancelling() else Crashed(message=why)
    done = client.set_flow_run_state(run.id, state)
    log.warning("run %s was %s and %s: set to %s; its place in queue %s is free", run.name, run.state.name, why,
                done.state.name if done.state else done.status, run.work_queue_name)  # fmt: skip
    for child in _waiting_children(client, run):
        client.set_flow_run_state(child.id, Cancelled(message=f"run {run.name}, which asked for it, has crashed"))
        log.warning("run %s, which it waited for, is called off", child.name)


def _waiting_children(client: Any, run: Any) -> list[Any]:
    """Return runs of other deployments that a run asked for and that have not begun."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    return _all(client, FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]), state=waiting))


def _skip_missed(client: Any, deployments: set[Any]) -> None:
    """Leave one of the starts of a schedule that nobody was there for: the last."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterNextScheduledStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled

    before: Any = datetime.now(UTC) - MISSED
    late = FlowRunFilterNextScheduledStartTime(before_=before)
    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    by_deployment: dict[Any, list[Any]] = {}
    for run in _all(client, FlowRunFilter(state=waiting, next_scheduled_start_time=late)):
        if run.auto_scheduled and run.deployment_id in deployments:
            by_deployment.setdefault(run.deployment_id, []).append(run)
    for runs in by_deployment.values():
        runs.sort(key=lambda run: run.next_scheduled_start_time)
        for run in runs[:-1]:
            client.set_flow_run_state(run.id, Cancelled(message=f"missed; run {runs[-1].name} stands for it"))
        if runs[1:]:
            log.warning("%d starts of queue %s were missed: run %s stands for them", len(runs) - 1,
                        runs[-1].work_queue_name, runs[-1].name)  # fmt: skip


def _all(client: Any, wanted: Any) -> list[Any]:
    """Return every run of a filter, page by page."""
    found: list[Any] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(found)):
        found += page
    return found
