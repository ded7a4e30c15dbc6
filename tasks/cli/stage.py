"""`tunegate stage NAME`."""

import json
import os

import click

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.stages.dvc_lock import wait_until_free
from tasks.stages.failures import clear_failure, record_failure
from tasks.stages.runner import run_stage
from tasks.stages.table import STAGE_KEYS, STAGES, Stage, find_stages

#: DVC names the stage here for the command it runs. Source: dvc/stage/run.py.
RUN_BY_DVC = "DVC_STAGE"


@click.command(
    epilog=f"Stages in order: {', '.join(stage.name for stage in STAGES)}. A name without @item runs all its items."
)
@click.argument("name", metavar=f"[{'|'.join(STAGE_KEYS)}]")
def stage(name: str) -> None:
    """Run one stage in this process, without asking DVC whether it is needed.

    The last line on stdout is one JSON object. `dvc repro NAME` runs the same and decides what is already done.
    """
    project = Project.here()
    for found in find_stages(name):
        click.echo(json.dumps(_run(found, project), ensure_ascii=False, sort_keys=True))


def _run(found: Stage, project: Project) -> dict[str, object]:
    """Run one stage; a failure of any kind is kept for the process above DVC, which sees only DVC's exit code."""
    clear_failure(project, found.name)
    try:
        settings = load_settings(project.root / "params.yaml")
        summary = run_stage(found, project, settings)
    except Exception as error:
        record_failure(project, found.name, error)
        raise
    if os.environ.get(RUN_BY_DVC):
        wait_until_free(project)
    return summary
