"""The flows `promote`, `rollback` and `reconcile`: the same functions as the commands of these names."""

from typing import Any, Literal

from prefect import flow, get_run_logger

from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings


@flow(name="promote", persist_result=False)
def promote(
    version: str,
    reason: str = "promoted from Prefect",
    by: str | None = None,
    strategy: Literal["switch", "canary", "shadow"] | None = None,
) -> dict[str, Any]:
    """Make a version champion and serve it.

    Args:
        version: number of the registered version.
        reason: kept in the champion history.
        by: who asks; the worker's user where not given.
        strategy: how traffic moves; promote.strategy where not given. With canary and shadow the flow ends when the
            trial has begun.
    """
    from tasks.release.history import requester
    from tasks.release.reconcile import promote as make_champion

    project, settings = _here()
    outcome = make_champion(project, settings, version, by=by or requester(), reason=reason, strategy=strategy)
    on_trial = outcome["action"] == "rollout"
    get_run_logger().info(
        "version %s is %s, served at %s", version, "on trial" if on_trial else "champion", project.gateway_url
    )
    return outcome


@flow(name="rollback", persist_result=False)
def rollback(reason: str = "rolled back from Prefect", by: str | None = None) -> dict[str, Any]:
    """Serve the champion before the present one again.

    Args:
        reason: kept in the champion history.
        by: who asks; the worker's user where not given.
    """
    from tasks.release.history import requester
    from tasks.release.rollback import rollback as go_back

    project, settings = _here()
    outcome = go_back(project, settings, by=by or requester(), reason=reason)
    get_run_logger().info("back to version %s", outcome["version"])
    return outcome


@flow(name="reconcile", persist_result=False)
def reconcile() -> dict[str, Any]:
    """Make serving match the champion alias; on a schedule, so that a lost event only costs minutes.

    No retries: they cannot tell a transient error from a refusal, and the schedule tries again anyway.
    """
    from tasks.release.reconcile import reconcile_once

    project, settings = _here()
    outcome = reconcile_once(project, settings)
    get_run_logger().info("%s: version %s, %s", outcome["action"], outcome["version"], outcome["reason"])
    return outcome


def _here() -> tuple[Project, Settings]:
    """Return the project of this worker and its settings."""
    project = Project.here()
    return project, load_settings(project.root / "params.yaml")
