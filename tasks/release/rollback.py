"""Back to the champion before: without waiting for a load under way, and without MLflow where it does not answer."""

import logging
from typing import Any

from tasks.core import tracking
from tasks.core.errors import ConfigError, TransientError, TunegateError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.deployment import Deployment
from tasks.release.history import champions_before, readable_history
from tasks.release.journal import Journal
from tasks.release.reconcile import deployment_of, exclusively_reconciling, promote, settle
from tasks.release.registry import Registry
from tasks.serving import control

log = logging.getLogger(__name__)

RECORD_FOLLOWS = "MLflow is away: record and alias follow"
NOTHING_BEFORE = ("there is no earlier champion to go back to", "tunegate status")


def rollback(project: Project, settings: Settings, *, by: str, reason: str) -> dict[str, Any]:
    """Serve the champion before the present one again; where that one does not come up, the one before it.

    A deployment or a rollout under way is ended. Where MLflow does not answer, the host goes back to what it served
    before by its own record; history and alias follow when MLflow is back (`tunegate reconcile`).

    Raises:
        ConfigError: there was no other champion before.
        TunegateError: of the last one tried, where none came up; what served goes on serving.
    """
    control.abort_deployment(project)
    try:
        registry = Registry(project, settings.register_.model_name)
        _settle_rollout(project, registry)
        targets = _targets(registry)
    except TransientError as error:
        log.warning("rollback: %s; the host's own record is used", error.message)
        return _by_the_hosts_record(project, by=by, reason=reason)
    failed: TunegateError | None = None
    for number in targets:
        try:
            return promote(project, settings, number, by=by, reason=reason, kind="rollback")
        except TunegateError as error:
            failed = error
        if _switched_to(project, number):
            # Going further back now would go back twice.
            log.warning("rollback: version %s serves, but is not on record yet: %s", number, failed.message)
            return {"action": "deployed", "version": number, "reason": RECORD_FOLLOWS}
        log.warning("rollback: version %s did not come up: %s", number, failed.message)
        if not _mlflow_answers(project):
            return _by_the_hosts_record(project, by=by, reason=reason)
    raise failed or ConfigError(*NOTHING_BEFORE)


def drill(project: Project, settings: Settings) -> dict[str, Any]:
    """Prove that a rollback would work now: its target is verified, started in the idle slot, asked, and stopped again.

    Returns:
        {"version", "seconds"} of the target that was rehearsed.

    Raises:
        ConfigError: there is nothing to go back to.
        TunegateError: the target does not verify, start or answer: a rollback to it would fail.
    """
    with exclusively_reconciling(project):
        registry = Registry(project, settings.register_.model_name)
        targets = _targets(registry)
        if not targets:
            raise ConfigError(*NOTHING_BEFORE)
        wanted = deployment_of(registry, registry.version(targets[0]), by="drill", reason="rehearsal")
        control.ensure_host(project)
        seconds = control.rehearse(project, wanted, on_progress=lambda line: log.info("drill: %s", line))
    return {"version": wanted.version, "seconds": round(seconds, 1)}


def _settle_rollout(project: Project, registry: Registry) -> None:
    """Record a rollout that the host has ended by itself: what went live by it is what is gone back from."""
    intent = Journal(project).read()
    if intent and intent.strategy != "switch":
        with exclusively_reconciling(project):
            settle(project, registry)


def _targets(registry: Registry) -> list[str]:
    """Return the versions to go back to, nearest first; damaged entries of the history are named and passed over."""
    events, problems = readable_history(registry)
    for problem in problems:
        log.warning("rollback: %s", problem)
    present = registry.champion()
    numbers = [number for number in champions_before(events) if not present or number != present.number]
    return list(dict.fromkeys(reversed(numbers)))


def _switched_to(project: Project, number: str) -> bool:
    """Return whether a rollback to this version has taken traffic and waits for MLflow to be recorded."""
    intent = Journal(project).read()
    return intent is not None and (intent.kind, intent.version) == ("rollback", number) and intent.step != "intended"


def _mlflow_answers(project: Project) -> bool:
    """Return whether MLflow is there."""
    try:
        tracking.client(project)
    except TransientError:
        return False
    return True


def _by_the_hosts_record(project: Project, *, by: str, reason: str) -> dict[str, Any]:
    """Go back by what the host wrote down of what it served; the journal carries the rest until MLflow is back."""
    status = control.host_status(project)
    if not status or not status["previous"]:
        raise ConfigError(*NOTHING_BEFORE)
    with exclusively_reconciling(project):
        wanted = Deployment.of_row(status["previous"][0] | {"by": by, "reason": reason})
        journal = Journal(project)
        intent = journal.begin(
            "rollback", wanted.version, wanted.lineage_id, by=by, reason=reason, before=status["version"]
        )
        try:
            control.deploy(project, wanted, on_progress=lambda line: log.info("rollback: %s", line))
        except TunegateError:
            journal.end()
            raise
        journal.reached(intent, "switched")
    return {"action": "deployed", "version": wanted.version, "reason": RECORD_FOLLOWS}
