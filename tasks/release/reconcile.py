"""Make serving match the champion alias: the one road by which a version goes live."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tasks.core.errors import ConfigError, GateFailedError, TunegateError
from tasks.core.exclusive import exclusively
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.approvals import refusal
from tasks.release.champion import champion_refusal
from tasks.release.history import Kind, append_event, champions_before, read_history, requester
from tasks.release.registry import Registry, Version
from tasks.release.version_evidence import evaluated_fingerprint
from tasks.serving import control

log = logging.getLogger(__name__)

#: A scheduled look that finds nothing to do is over sooner; a deployment takes longer.
LOCK_WAIT_S = 15.0


def reconcile_once(project: Project, settings: Settings) -> dict[str, Any]:
    """Compare the champion alias with what is served and close the difference.

    A champion that may not go live changes nothing: the version is tagged with the reason (`tunegate.refused`) and what
    served before goes on serving; when nothing serves yet, the last rightful champion is brought up.

    Returns:
        {"action": "none" | "deployed" | "refused", "version", "reason"}.

    Raises:
        TransientError: the new version did not come up; the old one goes on serving.
    """
    with _exclusively(project):
        registry = Registry(project, settings.register_.model_name)
        champion = registry.champion()
        if champion is None:
            return {"action": "none", "version": None, "reason": "there is no champion"}
        reason = refusal(champion, settings.promote)
        if reason is None:
            outcome = _ensure_served(project, registry, champion)
            _record(registry, "alias", champion.number, requester(), "the alias was moved in MLflow")
            return outcome
        registry.tag(champion.number, "refused", reason)
        log.warning("reconcile: version %s stays out: %s", champion.number, reason)
        status = control.host_status(project)
        if status is None or status["version"] is None:
            _serve_last_rightful(project, settings, registry)
        return {"action": "refused", "version": champion.number, "reason": reason}


def promote(
    project: Project, settings: Settings, number: str, *, by: str, reason: str, kind: Kind = "promote"
) -> dict[str, Any]:
    """Make a version champion and serve it; on any failure the alias and the serving stay as they were.

    Raises:
        GateFailedError: the version may not go live (no PASS, approvals missing, a demo verdict in production, or
            it is worse than the champion).
        TransientError: it did not come up.
    """
    registry = Registry(project, settings.register_.model_name)
    version = registry.version(number)
    if (why := refusal(version, settings.promote)) is not None:
        raise GateFailedError(f"version {number} may not go live: {why}", next_command(version))
    # A rollback goes back to what was good before; it is not held to what it replaces.
    if kind == "promote" and (why := champion_refusal(registry, settings, version)) is not None:
        raise GateFailedError(f"version {number} may not go live: {why}", f"tunegate gate explain {number}")
    with _exclusively(project):
        before = registry.champion()
        registry.set_champion(number)
        try:
            outcome = _ensure_served(project, registry, version)
        except TunegateError as error:
            registry.set_champion(before.number if before else None)
            registry.tag(number, "deploy_failed", str(error.message)[:1000])
            raise
        _record(registry, kind, number, by, reason)
    return outcome


def rollback(project: Project, settings: Settings, *, by: str, reason: str) -> dict[str, Any]:
    """Serve the champion before the present one again.

    Raises:
        ConfigError: there was no other champion before.
    """
    registry = Registry(project, settings.register_.model_name)
    present = registry.champion()
    earlier = [number for number in champions_before(read_history(registry)) if not present or number != present.number]
    if not earlier:
        raise ConfigError("there is no earlier champion to go back to", "tunegate status")
    return promote(project, settings, earlier[-1], by=by, reason=reason, kind="rollback")


def _ensure_served(project: Project, registry: Registry, version: Version) -> dict[str, Any]:
    """Serve a version that may go live, unless it is served and healthy already."""
    registry.untag(version, "refused")
    status = control.host_status(project)
    if status and status["version"] == version.number and status["healthy"]:
        return {"action": "none", "version": version.number, "reason": "served already"}
    _deploy(project, registry, version)
    registry.untag(version, "deploy_failed")
    return {"action": "deployed", "version": version.number, "reason": "it is the champion"}


def _serve_last_rightful(project: Project, settings: Settings, registry: Registry) -> None:
    """Bring up the newest recorded champion that may still go live, if there is one."""
    for event in reversed(read_history(registry)):
        version = registry.version(event.version)
        if refusal(version, settings.promote) is None:
            log.info("reconcile: version %s, the last rightful champion, serves instead", version.number)
            _deploy(project, registry, version)
            return


def _deploy(project: Project, registry: Registry, version: Version) -> None:
    """Start a version in the idle slot, hold it to its smoke prompts and its evidence, and switch to it."""
    fingerprint = evaluated_fingerprint(registry, version)
    control.ensure_host(project)
    report: Callable[[str], None] = lambda line: log.info("deploy: %s", line)  # noqa: E731
    control.deploy(
        project,
        version=version.number,
        lineage_id=version.lineage_id,
        model=registry.weights(version),
        fingerprint=fingerprint,
        on_progress=report,
    )


def _record(registry: Registry, kind: Kind, number: str, by: str, reason: str) -> None:
    """Add a change of champion to the history, once."""
    last = read_history(registry)[-1:]
    if not last or last[0].version != number:
        append_event(registry, kind, number, by, reason)


def next_command(version: Version) -> str:
    """Return what to do about a version that may not go live."""
    if version.verdict != "PASS":
        return "read data/reports/dossier/index.html, mend the cause, tunegate run"
    return f"tunegate approve {version.number} --by NAME --reason TEXT, then tunegate promote {version.number}"


def _exclusively(project: Project) -> AbstractContextManager[None]:
    """Let one reconciler work at a time.

    A second one waits for what a scheduled look takes, and is told so where a deployment is under way.
    """
    busy = ("another reconcile is at work", "wait for it, then tunegate reconcile --once")
    return exclusively(project.state / "reconcile.lock", wait_s=LOCK_WAIT_S, busy=busy)
