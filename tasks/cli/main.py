"""`tunegate`: noun-verb commands, loaded only when called, so that --help is instant."""

import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from tasks.core.guard import guarded
from tasks.core.logs import setup_logging
from tasks.core.project import QUIET, TELEMETRY_OFF, Project

if TYPE_CHECKING:
    from tasks.core.settings import Settings

#: command -> (module, attribute, one line for --help). Order is the order a newcomer needs them in.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "doctor": ("tasks.cli.doctor", "doctor", "Check this machine against the active profile."),
    "profile": ("tasks.cli.profile", "profile", "List profiles, or write one to params.yaml."),
    "models": ("tasks.cli.models", "models", "List base models, recommend some, compare a few before training."),
    "run": ("flows.cli", "run", "Run the pipeline: prepare to gate, register, promote."),
    "sweep": ("flows.sweep_cli", "sweep", "Try settings, compare them item by item, keep the winner's."),
    "stage": ("tasks.cli.stage", "stage", "Run one stage (what dvc.yaml calls)."),
    "data": ("tasks.cli.data", "data", "Ask what became of the data, row by row; export it."),
    "export-training": ("tasks.cli.export_training", "export_training", "Write rows and settings for another trainer."),
    "eval": ("tasks.cli.evaluation", "evaluation", "Write and check packs of questions; ask the live endpoint."),
    "review": ("tasks.cli.review", "review", "Let experts read answers blind; how far they agree; rows of it."),
    "index": ("tasks.cli.index", "index", "Build, search and measure the documents that answers are taken from."),
    "gate": ("tasks.cli.gate", "gate", "Explain a verdict; simulate how often the rules are wrong."),
    "status": ("tasks.cli.release", "status", "Show champion, serving and whether they agree."),
    "approve": ("tasks.cli.approve", "approve", "Sign an approval of a registered version; a page for reviewers."),
    "withdraw": ("tasks.cli.approve", "withdraw", "Withdraw approvals of a version."),
    "verify": ("tasks.cli.verify", "verify", "Show the chain of proof of a version or bundle, link by link."),
    "bundle": ("tasks.cli.travel", "bundle", "Write a version and its proof into one file."),
    "sign-weights": ("tasks.cli.travel", "sign_weights", "Sign a version's weights in OpenSSF's format."),
    "export": ("tasks.cli.export", "export", "Write a model as GGUF, for Ollama, or as safetensors."),
    "engines": ("tasks.cli.engines", "engines", "Check what an engine may be used for."),
    "install": ("tasks.cli.travel", "install", "Register the version of a bundle here."),
    "promote": ("tasks.cli.release", "promote", "Make a version champion and serve it."),
    "canary": ("tasks.cli.canary", "canary", "Look at a version on trial; take it back, or let it through."),
    "rollback": ("tasks.cli.release", "rollback", "Serve the champion before this one again."),
    "drill": ("tasks.cli.release", "drill", "Prove that a rollback would work now."),
    "reconcile": ("tasks.cli.release", "reconcile", "Make serving match the champion alias."),
    "lineage": ("tasks.cli.release", "lineage", "Trace a version or lineage id to its data; bring it back."),
    "versions": ("tasks.cli.versions", "versions", "List registered versions; free disk from old ones."),
    "gateway": ("tasks.cli.serve", "gateway", "Run one of several gateways before models behind URLs."),
    "serve": ("tasks.cli.serve", "serve", "Bring the champion and the gateway up and stay."),
    "feedback": ("tasks.cli.review", "feedback", "Mark an answer of the gateway as good or bad."),
    "monitor": ("tasks.cli.monitor", "monitor", "Look once at what is live: evidence, questions, answers."),
    "top": ("tasks.cli.top", "top", "Watch the gateway: requests, tokens, slots, alarms."),
    "stop": ("tasks.cli.serve", "stop", "Stop the gateway and its slots."),
    "audit": ("tasks.cli.audit", "audit", "Verify, search, export and hold the log of what was asked."),
    "state": ("tasks.cli.state", "state", "Back records up, bring them back, move them to Postgres."),
    "sign-key": ("tasks.cli.sign_key", "sign_key", "Make and show keys that sign releases, approvals, logs."),
    "keys": ("tasks.cli.keys", "keys", "Create, rotate, limit, list and revoke gateway API keys."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list from the table alone, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Show debug lines and third parties' chatter.")
@click.version_option(package_name="tunegate")
def cli(verbose: bool) -> None:
    """Turn instruction data into a fine-tuned, gated, quantized model that people are allowed to talk to."""
    os.environ.update(TELEMETRY_OFF)
    if not verbose:
        os.environ.update(QUIET)
    setup_logging(verbose=verbose)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def project_and_settings() -> tuple[Project, "Settings"]:
    """Return the project around the current directory and its settings."""
    from tasks.core.settings import load_settings

    project = Project.here()
    return project, load_settings(project.root / "params.yaml")


def emit(value: dict[str, Any] | list[Any], *, as_json: bool, text: str) -> None:
    """Print a result: one JSON value for machines, text for people."""
    click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True) if as_json else text)


def main() -> None:
    """Run the command line and exit with the right code."""
    sys.exit(guarded(lambda: cli(standalone_mode=False)))
