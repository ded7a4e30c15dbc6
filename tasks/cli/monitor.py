"""`tunegate monitor`: one look at what is live."""

from typing import Any

import click

from tasks.cli.main import emit
from tasks.core.project import Project
from tasks.core.settings import load_settings


@click.command()
@click.option("--act", "acts", is_flag=True, help="Go back a version after an alarm in monitor.rollback_on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def monitor(acts: bool, as_json: bool) -> None:
    """Ask the live endpoint a sample of what it was released on, and compare callers' questions and answers.

    Canaries and evidence through the gateway; language, length and topic of the questions in the audit log with those
    of the training rows; refusals and `unknown` answers with the evidence's. Ends with exit code 4 after an alarm. The
    flow `monitor/monitor` does the same on a schedule, with --act.
    """
    from tasks.monitor.look import act, look, require_quiet

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    found = look(project, settings)
    found["went_back"] = act(project, settings, found) if acts else None
    emit(found, as_json=as_json, text=_text(found))
    require_quiet(found)


def _text(found: dict[str, Any]) -> str:
    """Return a look for people."""
    answers, questions = found["answers"], found["questions"]
    lines = [
        f"version {found['version']} ({found['lineage_id']}), {len(found['alarms'])} alarm(s)",
        f"questions  {questions['rows']} in the window",
        *(f"  {drift['name']:<12} moved {drift['index']:.3f} (limit {drift['limit']:.3f})"
          for drift in questions["drifts"]),
        f"answers    {answers['rows']}: {answers['refusals']} refuse (evidence {answers['released_refusals']:.0%}), "
        f"{answers['unknowns']} say it is not known (evidence {answers['released_unknowns']:.0%})",
        *(f"not compared: {note}" for note in found["notes"]),
    ]  # fmt: skip
    if found["went_back"]:
        lines.append(f"went back to version {found['went_back']['version']}")
    return "\n".join(lines)
