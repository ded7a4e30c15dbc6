"""`tunegate canary`: look at the rollout under way, take it back, or let it through, by a person."""

import logging
from typing import Any

from tasks.core.errors import ConfigError, TransientError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.journal import Journal
from tasks.release.reconcile import exclusively_reconciling, settle
from tasks.release.registry import Registry
from tasks.serving import control
from tasks.serving.rollout.rollout import NO_ROLLOUT

log = logging.getLogger(__name__)


def canary_status(project: Project) -> dict[str, Any]:
    """Return the rollout under way or the last one; {"phase": "none"} where there never was one."""
    host = control.host_status(project)
    state: dict[str, Any] | None = (host["rollout"] if host else None) or control.last_rollout(project)
    if state and state["phase"] == "running" and not host:
        state |= {"phase": "ended", "why": "its host is not running"}
    return state or {"phase": "none"}


def end_by_hand(project: Project, settings: Settings, end: str, *, by: str, reason: str) -> dict[str, Any]:
    """Abort or promote the rollout under way, and record it.

    Where MLflow does not answer, the traffic has moved all the same; history and alias follow with the next reconcile.

    Args:
        end: `abort` or `promote`.

    Returns:
        The state of the rollout.

    Raises:
        ConfigError: none is under way.
        TransientError: the host does not answer, or the candidate could not go live.
    """
    intent = Journal(project).read()
    done = control.end_rollout(project, end, f"{end} by {by}: {reason}")
    # One that its host left behind is taken back below; that is what an abort asks for.
    if not done and (end == "promote" or intent is None or intent.strategy == "switch"):
        raise ConfigError(*NO_ROLLOUT)
    try:
        with exclusively_reconciling(project):
            settle(project, Registry(project, settings.register_.model_name))
    except TransientError as error:
        log.warning("canary: %s; tunegate reconcile --once records it", error.message)
    return canary_status(project)
