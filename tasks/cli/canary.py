"""`tunegate canary status | abort | promote`."""

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.project import Project


@click.group()
def canary() -> None:
    """Look at the version that is being tried on a share of the traffic; take it back, or let it through.

    `tunegate promote VERSION --strategy canary` begins one, `--strategy shadow` one whose answers nobody sees.
    """


@canary.command()
@json_option
def status(as_json: bool) -> None:
    """Show the rollout under way, or how the last one ended: share, counts of both versions, E-values."""
    from tasks.release.canary import canary_status
    from tasks.release.rollout import described

    state = canary_status(Project.here())
    emit(state, as_json=as_json, text="no rollout yet" if state["phase"] == "none" else described(state))


@canary.command()
@click.option("--reason", default="taken back from the command line", show_default=True, help="Kept as evidence.")
@json_option
def abort(reason: str, as_json: bool) -> None:
    """Take the candidate back now: the live version answers everybody again."""
    _end("abort", reason, as_json=as_json)


@canary.command()
@click.option("--reason", default="let through from the command line", show_default=True, help="Kept in the history.")
@json_option
def promote(reason: str, as_json: bool) -> None:
    """Give the candidate all of the traffic now, whatever the tests say so far."""
    _end("promote", reason, as_json=as_json)


def _end(end: str, reason: str, *, as_json: bool) -> None:
    """End the rollout under way and say how it stands."""
    from tasks.release.canary import end_by_hand
    from tasks.release.history import requester
    from tasks.release.rollout import described

    project, settings = project_and_settings()
    state = end_by_hand(project, settings, end, by=requester(), reason=reason)
    emit(state, as_json=as_json, text=described(state))
