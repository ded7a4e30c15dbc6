"""`tunegate run`: the pipeline flow from the command line, in this process."""

import time
from pathlib import Path
from typing import Any

import click

from flows.environment import prepare_environment
from flows.server import server_answering, use_own_server
from tasks.cli.main import emit
from tasks.cli.profile import use_params
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.serving.stopped import lift_stop

AGAIN = "tunegate run: finished stages are kept, training resumes from its checkpoint"


@click.command()
@click.option("--params", "params_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A params file; it becomes params.yaml, which DVC reads; the old one is kept.")  # fmt: skip
@click.option("--keep-serving", is_flag=True, help="Leave the gateway up after the run (tunegate stop ends it).")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON value.")
def run(params_file: Path | None, keep_serving: bool, as_json: bool) -> None:
    """Run the pipeline: prepare, validate, train, merge, quantize, evaluate, gate, dossier, register, promote.

    What is done already is not done again; a killed run goes on where it was. Exit code 4: the gate did not pass.
    """
    began, project = time.monotonic(), Project.here()
    if params_file:
        use_params(params_file, project)
    load_settings(project.root / "params.yaml")
    prepare_environment(project)
    use_own_server(project)
    if keep_serving:
        lift_stop(project)
    from flows.clock import since_start
    from flows.pipeline import pipeline
    from flows.summary import summary

    with server_answering(AGAIN):
        # A run whose model did not pass raises here, as its state says.
        ended: Any = pipeline(keep_serving=keep_serving)
        outcome = since_start(ended, time.monotonic() - began)
    emit(outcome, as_json=as_json, text=summary(project, outcome))
