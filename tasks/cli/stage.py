"""`tunegate stage NAME`."""

import json

import click

from tasks.core.project import Project
from tasks.core.runner import run_stage
from tasks.core.settings import load_settings
from tasks.core.stage import STAGE_KEYS, STAGES, find_stages


@click.command(
    epilog=f"Stages in order: {', '.join(stage.name for stage in STAGES)}. A name without @item runs all its items."
)
@click.argument("name", metavar=f"[{'|'.join(STAGE_KEYS)}]")
def stage(name: str) -> None:
    """Run one stage in this process, without asking DVC whether it is needed.

    The last line on stdout is one JSON object. `dvc repro NAME` runs the same and decides what is already done.
    """
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    for found in find_stages(name):
        click.echo(json.dumps(run_stage(found, project, settings), ensure_ascii=False, sort_keys=True))
