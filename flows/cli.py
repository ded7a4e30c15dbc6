"""`tunegate run`: the pipeline flow from the command line, in this process."""

import time
from pathlib import Path
from typing import Any

import click
import yaml

from flows.environment import prepare_environment
from flows.server import server_answering, use_own_server
from tasks.cli.main import emit
from tasks.cli.profile import use_params
from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.serving.stopped import lift_stop

AGAIN = "tunegate run: finished stages are kept, training resumes from its checkpoint"


@click.command()
@click.option("--params", "params_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A params file; it becomes params.yaml, which DVC reads; the old one is kept.")  # fmt: skip
@click.option("--rev", metavar="COMMIT", help="Run this commit, branch or tag, in a folder of its own; the checkout "
              "stays as it is, and may be worked on meanwhile.")  # fmt: skip
@click.option("--profile", metavar="NAME", help="Run with that profile's settings, in a folder of its own.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
              help="Run with another value of params.yaml, in a folder of its own: train.max_steps=20.")  # fmt: skip
@click.option("--no-promote", is_flag=True, help="Leave a version that passed to a person, as an experiment does.")
@click.option("--keep-serving", is_flag=True, help="Leave the gateway up after the run (tunegate stop ends it).")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON value.")
def run(
    params_file: Path | None,
    rev: str | None,
    profile: str | None,
    sets: tuple[str, ...],
    no_promote: bool,
    keep_serving: bool,
    as_json: bool,
) -> None:
    """Run the pipeline: prepare, validate, train, merge, quantize, evaluate, gate, dossier, register, promote.

    What is done already is not done again; a killed run goes on where it was. Exit code 4: the gate did not pass.
    """
    began, project = time.monotonic(), Project.here()
    given = given_settings(sets)
    asked = bool(rev or profile or given)
    if params_file and asked:
        raise ConfigError("--params writes params.yaml, and a run with --rev, --profile or --set has its own settings",
                          "leave --params out")  # fmt: skip
    if params_file:
        use_params(params_file, project)
    prepare_environment(project)
    if asked:
        rev = checked(project, rev, profile, given)
    else:
        load_settings(project.root / "params.yaml")
    use_own_server(project)
    if keep_serving:
        lift_stop(project)
    from flows.asked import AskedSettings
    from flows.clock import since_start
    from flows.pipeline import pipeline
    from flows.summary import summary

    params = AskedSettings.model_validate(given) if given else None
    with server_answering(AGAIN):
        # A run whose model did not pass raises here, as its state says.
        ended: Any = pipeline(keep_serving=keep_serving, promote=not no_promote, rev=rev, profile=profile,
                              params=params)  # fmt: skip
        outcome = since_start(ended, time.monotonic() - began)
    emit(outcome, as_json=as_json, text=summary(Project(Path(outcome["folder"])), outcome))


def given_settings(sets: tuple[str, ...]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as settings: `train.max_steps=20` is {"train": {"max_steps": 20}}.

    Raises:
        ConfigError: one has no `=`, or a value is no YAML.
    """
    from tasks.sweep.space import plain_value

    found: dict[str, Any] = {}
    for item in sets:
        key, sign, text = item.partition("=")
        if not (sign and key):
            raise ConfigError(f"--set {item!r} is not KEY=VALUE", "--set train.max_steps=20")
        *above, name = key.split(".")
        section = found
        for part in above:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {item!r}: {part} was given a value already", "give each key once")
        try:
            section[name] = plain_value(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {item!r}: the value is no YAML", "--set train.max_steps=20") from error
    return found


def checked(project: Project, rev: str | None, profile: str | None, params: dict[str, Any]) -> str | None:
    """Return the commit that a run is asked for, in full, before a server is started for it; None for the checkout's.

    Raises:
        ConfigError: the commit is not to be had, the checkout has changes beside its own, or a setting is wrong.
    """
    from flows.worktree import clean_commit, commit_of, settings_text

    commit = commit_of(project, rev) if rev else clean_commit(project)
    settings_text(project, commit, rev, profile, params or None)
    return commit if rev else None
