"""`tunegate status | promote | rollback | reconcile | lineage`."""

import time
from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.project import Project
from tasks.core.settings import Settings


def _registry(project: Project, settings: Settings) -> Any:
    """Return the registry; imported late, MLflow takes seconds."""
    from tasks.release.registry import Registry

    return Registry(project, settings.register_.model_name)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the champion (what should be served), what is served, and whether they agree."""
    from tasks.release.status import describe, serving_status

    project, settings = project_and_settings()
    state = serving_status(project, settings)
    emit(state, as_json=as_json, text=describe(state))


@click.command()
@click.argument("version")
@click.option("--reason", default="promoted from the command line", show_default=True, help="Kept in the history.")
@click.option("--strategy", type=click.Choice(["switch", "canary", "shadow"]),
              help="How traffic moves: at once, by a rising share, or after a time of mirrored requests. "
                   "Usually promote.strategy.")  # fmt: skip
@json_option
def promote(version: str, reason: str, strategy: Any, as_json: bool) -> None:
    """Make VERSION champion: start it in the idle slot, smoke-test it, switch, drain the old one.

    With --strategy canary or shadow the command returns when the trial has begun; `tunegate canary status` shows it.
    What it starts keeps serving; `tunegate stop` ends it.
    """
    from tasks.release.history import requester
    from tasks.release.reconcile import promote as make_champion

    project, settings = project_and_settings()
    outcome = make_champion(project, settings, version, by=requester(), reason=reason, strategy=strategy)
    text = f"version {version} is champion, served at {project.gateway_url}"
    if outcome["action"] == "rollout":
        text = f"version {version} is being tried beside the champion\n  next: tunegate canary status"
    emit(outcome, as_json=as_json, text=text)


@click.command()
@click.option("--reason", default="rolled back from the command line", show_default=True, help="Kept in the history.")
@json_option
def rollback(reason: str, as_json: bool) -> None:
    """Serve the champion before the present one again. No training, no quantization, no dropped request."""
    from tasks.release.history import requester
    from tasks.release.rollback import rollback as go_back

    project, settings = project_and_settings()
    outcome = go_back(project, settings, by=requester(), reason=reason)
    emit(outcome, as_json=as_json, text=f"back to version {outcome['version']}, served at {project.gateway_url}")


@click.command()
@json_option
def drill(as_json: bool) -> None:
    """Prove that a rollback would work now: verify its target, start it in the idle slot, ask it, stop it.

    What is live is not touched. Run it by day, so that the night needs no luck; needs memory for two servers.
    """
    from tasks.release.rollback import drill as rehearse

    project, settings = project_and_settings()
    found = rehearse(project, settings)
    text = f"a rollback to version {found['version']} would work: verified, started and asked in {found['seconds']} s"
    emit(found, as_json=as_json, text=text)


@click.command()
@click.option("--once", is_flag=True, help="Compare once and exit; without it, every serve.reconcile_every_s seconds.")
@json_option
def reconcile(once: bool, as_json: bool) -> None:
    """Make serving match the alias `champion`, or say on the version why not."""
    from tasks.release.reconcile import reconcile_once

    project, settings = project_and_settings()
    while True:
        outcome = reconcile_once(project, settings)
        emit(outcome, as_json=as_json, text=f"{outcome['action']}: version {outcome['version']}, {outcome['reason']}")
        if once:
            return
        time.sleep(settings.serve.reconcile_every_s)


@click.command()
@click.argument("version_or_lineage_id")
@click.option("--restore", type=click.Path(path_type=Path), help="Make a checkout of its code and data in this folder.")
@json_option
def lineage(version_or_lineage_id: str, restore: Path | None, as_json: bool) -> None:
    """Trace a registered version, or the lineage id of a chat answer, to data, base model, settings and code.

    With --restore: the commit in a new folder, with params.yaml and dvc.lock as they were, and the data of dvc.lock.
    """
    from tasks.release.restore import restore as bring_back
    from tasks.release.restore import restored_words
    from tasks.release.status import describe_lineage, trace

    project, settings = project_and_settings()
    registry = _registry(project, settings)
    found = trace(registry, version_or_lineage_id)
    if restore is not None:
        back = bring_back(project, registry, registry.version(found["version"]), restore)
        emit(back, as_json=as_json, text=restored_words(back))
        return
    emit(found, as_json=as_json, text=describe_lineage(found))
