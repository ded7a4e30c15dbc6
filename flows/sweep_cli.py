"""`tunegate sweep run | show | list | apply`: which settings are better, shown on items they were not chosen on."""

from typing import Any

import click

from flows.environment import prepare_environment
from flows.server import server_answering, use_own_server
from tasks.cli.main import emit, json_option
from tasks.core.project import Project
from tasks.core.table import table

HOPS = ("base", "adapter", "merged", "awq")
EXAMPLE = """Example:

\b
  tunegate sweep run lr --set train.learning_rate=0.001,0.002,0.004 --set train.lora.rank=8,16
  tunegate sweep run wide --set train.learning_rate=1e-4..1e-2:log --sampler random --trials 8
  tunegate sweep show lr
  tunegate sweep apply lr
"""


@click.group(epilog=EXAMPLE)
def sweep() -> None:
    """Try settings of params.yaml, compare them item by item, keep the winner's.

    Half of the items choose the winner, the other half says what it is worth.
    """


@sweep.command(epilog=EXAMPLE)
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUES",
              help="A key of params.yaml and its values: 8,16 or [[q_proj], [v_proj]] or 1e-4..1e-2:log.")  # fmt: skip
@click.option("--sampler", type=click.Choice(["grid", "random", "tpe"]), default="grid", show_default=True,
              help="grid: every combination. tpe: Optuna's.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), help="How many, with random and tpe.")
@click.option("--seed", default=0, show_default=True, help="Of the sampler.")
@click.option("--hop", type=click.Choice(HOPS), default="awq", show_default=True,
              help="Whose evaluation is compared; the stages up to it are run.")  # fmt: skip
@click.option("--metric", default="domain_bits_per_byte", show_default=True, help="What decides; a gate's metric.")
@click.option("--deployment", help="Run each trial as a run of this deployment: trial/later.")
@click.option("--keep", is_flag=True, help="Leave the trials' checkouts in .tunegate/sweeps/NAME/trials.")
@json_option
def run(name: str, settings: tuple[str, ...], deployment: str | None, keep: bool, as_json: bool, **asked: Any) -> None:
    """Run a sweep called NAME; the same command, or NAME alone, goes on where it was stopped.

    Trial 0 are the settings as they are. Every trial has a checkout of its own, and DVC's cache in common: stages that
    two trials share run once. Where there are cards for several, so many run at a time. What is in the working tree
    when the sweep begins is what every trial runs.
    """
    project = Project.here()
    prepare_environment(project)
    found = _planned(project, name, settings, asked)
    if found.result is None:
        _run(project, name, keep, deployment)
    else:
        from tasks.sweep.records import record_result

        record_result(found, found.result)
    _show(found, as_json)


@sweep.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the trials of NAME so far, and once they have all ended who won and what it is worth."""
    from tasks.sweep.store import open_sweep

    _show(open_sweep(Project.here(), name), as_json)


@sweep.command("list")
@json_option
def list_sweeps(as_json: bool) -> None:
    """List the sweeps of this checkout."""
    from tasks.sweep.store import open_sweep, sweep_names

    project = Project.here()
    found = [open_sweep(project, name) for name in sweep_names(project)]
    value: list[dict[str, Any]] = [{"sweep": one.name, "settings": one.plan.settings, "trials": len(one.trials()),
              "done": one.result is not None} for one in found]  # fmt: skip
    rows = [[line["sweep"], ", ".join(line["settings"]), str(line["trials"]), "done" if line["done"] else "not done"]
            for line in value]  # fmt: skip
    emit(value, as_json=as_json, text=table(["sweep", "settings", "trials", ""], rows))


@sweep.command()
@click.argument("name")
@click.option("--anyway", is_flag=True, help="Also where params.yaml has changed since the sweep began.")
@json_option
def apply(name: str, anyway: bool, as_json: bool) -> None:
    """Write the settings of NAME's winner into params.yaml, its comments kept; the file before is kept too."""
    from tasks.cli.profile import use_params
    from tasks.sweep.apply import winners_params
    from tasks.sweep.checks import words
    from tasks.sweep.store import open_sweep

    project = Project.here()
    found = open_sweep(project, name)
    point, file = winners_params(found, anyway=anyway)
    changed = use_params(file, project)
    value = {"sweep": name, "settings": point, "changed": changed, "shown": _shown(found.result)}
    emit(value, as_json=as_json, text=_applied_words(words(point), value))


def _planned(project: Project, name: str, settings: tuple[str, ...], asked: dict[str, Any]) -> Any:
    """Return a sweep that may begin or go on: checked, with its copy of the checkout.

    Raises:
        ConfigError: something of it is wrong; nothing was started.
    """
    from tasks.sweep.begin import begin
    from tasks.sweep.space import parse_space, plain_space
    from tasks.sweep.store import Plan, open_sweep, sweep_names

    if not settings and name in sweep_names(project):
        return open_sweep(project, name)
    return begin(project, name, Plan(settings=plain_space(parse_space(settings)), **asked))


def _run(project: Project, name: str, keep: bool, deployment: str | None) -> None:
    """Run a sweep as a flow, on the server there is or a temporary one."""
    use_own_server(project)
    from flows.sweep import sweep as sweep_flow

    with server_answering(f"tunegate sweep run {name}: trials that are done are kept, training resumes"):
        sweep_flow(name, keep=keep, deployment=deployment)


def _show(found: Any, as_json: bool) -> None:
    """Print a sweep."""
    from tasks.sweep.report import text_of

    text = text_of(found.trials(), found.result)
    emit(_value(found), as_json=as_json, text=f"{text}\n{_next(found, found.result)}")


def _value(found: Any) -> dict[str, Any]:
    """Return a sweep as JSON."""
    return {"sweep": found.name, "trials": found.trials(), "result": found.result, "folder": str(found.folder)}


def _next(found: Any, result: dict[str, Any] | None) -> str:
    """Return what to do next."""
    if result is None:
        return f"next: tunegate sweep run {found.name}"
    page = (found.folder / "report.html").relative_to(found.project.root)
    return f"report: {page}" + (f"\nnext: tunegate sweep apply {found.name}" if result["winner"] else "")


def _shown(result: dict[str, Any] | None) -> bool:
    """Return whether the held-out items show the winner to be better."""
    return bool(result and result["heldout"] and result["heldout"]["shown"])


def _applied_words(settings: str, value: dict[str, Any]) -> str:
    """Return what was written."""
    if not value["settings"]:
        return "the settings as they are won: params.yaml stays"
    state = "now has" if value["changed"] else "already had"
    worth = "" if value["shown"] else "\n  on the held-out items it was not shown to be better"
    return f"params.yaml {state} {settings}{worth}\n  next: tunegate run (what the trial made comes from DVC's cache)"
