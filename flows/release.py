"""The flows `promote`, `rollback`, `reconcile` and `golive`: what the commands do, and the end of `tunegate run`.

They run on the pool `release`: its worker alone holds the credential for promotion and reaches the serving host.
"""

from typing import Any, Literal

from prefect import flow, get_run_logger

from flows.showing import show_run
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings


@flow(name="promote", persist_result=False)
def promote(
    version: str,
    reason: str = "promoted from Prefect",
    by: str | None = None,
    strategy: Literal["switch", "canary", "shadow"] | None = None,
    wait_for_approvals_s: float = 0,
    approval: str | None = None,
) -> dict[str, Any]:
    """Make a version champion and serve it.

    Args:
        version: number of the registered version.
        reason: kept in the champion history.
        by: who asks; the worker's user where not given.
        strategy: how traffic moves; promote.strategy where not given. With canary and shadow the flow ends when the
            trial has begun.
        wait_for_approvals_s: with 0 a version that lacks approvals is refused at once; else the run is suspended for
            so long at most, and takes signed approvals as its input.
        approval: a signed approval that comes with the request, or the token of a GitHub job; checked like any other.
    """
    from flows.approvals import await_approvals, take_given
    from tasks.release.history import requester
    from tasks.release.reconcile import promote as make_champion
    from tasks.release.registry import Registry

    project, settings = _here()
    show_run(f"promote version {version}", [f"version:{version}"])
    registry = Registry(project, settings.register_.model_name)
    if approval:
        take_given(registry, version, settings.promote, approval)
    if wait_for_approvals_s > 0:
        await_approvals(registry, version, settings.promote, wait_for_approvals_s)
    outcome = make_champion(project, settings, version, by=by or requester(), reason=reason, strategy=strategy)
    on_trial = outcome["action"] == "rollout"
    show_run(f"version {version} {'on trial' if on_trial else 'champion'}", [f"version:{version}"])
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
    show_run(f"back to version {outcome['version']}", [f"version:{outcome['version']}"])
    get_run_logger().info("back to version %s", outcome["version"])
    return outcome


@flow(name="golive", persist_result=False)
def golive(version: str, keep_serving: bool = True) -> dict[str, Any]:
    """Promote a version that needs no (further) approval and ask it the smoke prompts, or say why it waits.

    What a pipeline whose worker may not promote asks for at its end.

    Args:
        version: number of the registered version.
        keep_serving: leave the gateway up where this run brought it up.
    """
    from tasks.release.golive import go_live

    project, settings = _here()
    logger = get_run_logger()
    show_run(f"go live version {version}", [f"version:{version}"])
    outcome = go_live(project, settings, version, keep_serving=keep_serving, report=logger.info)
    logger.info("%s", outcome["outcome"])
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
