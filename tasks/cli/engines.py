"""`tunegate engines list | check`: which engines there are drivers for, and what a running one may be used for."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError


@click.group()
def engines() -> None:
    """Ask engines other than our own vLLM what they may be used for."""


@engines.command("list")
@json_option
def list_engines(as_json: bool) -> None:
    """List the engines with a driver: how each is told, what it is held to, where the driver was run."""
    from tasks.core.table import table
    from tasks.engine.drivers.known import DRIVERS

    rows = [
        {"engine": kind.name, "owned_by": kind.owner, "hop": kind.standard.hop, "least": kind.standard.least,
         "driver_run": kind.run}
        for kind in DRIVERS.values()
    ]  # fmt: skip
    lines = [
        [kind.name, kind.owner or "anything else", kind.standard.hop, f"{kind.standard.least:.0%}", kind.run]
        for kind in DRIVERS.values()
    ]
    head = ["engine", "owned_by in /v1/models", "held to hop", "of its tokens", "driver run"]
    emit(rows, as_json=as_json, text=table(head, lines))


@engines.command()
@click.argument("url", required=False)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Instead of a URL: an export with a GGUF file; llama.cpp is started over it, and ended.",
)
@click.option("--name", help="The name it serves; may be left out where it serves one.")
@click.option("--engine", help="Its driver; told by the server itself where left out.")
@click.option("--model", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder with the model's tokenizer; the merged model of this checkout where left out.")  # fmt: skip
@json_option
def check(
    url: str | None, folder: Path | None, name: str | None, engine: str | None, model: Path | None, as_json: bool
) -> None:
    """Decide what the engine at URL may be used for: serving, evaluation, or neither.

    It is asked for tokens, templates, greedy answers, scores, stops, streams and calls; `tunegate run` has to have
    evaluated the model here, or there is nothing to hold its answers to. Exit code 0 says that it was asked.
    """
    from tasks.core.layout import HOPS, MERGED, report_of
    from tasks.engine.conformance.subject import subject_of
    from tasks.engine.conformance.suite import check_engine
    from tasks.serving.upstream.addresses import access

    if (url is None) == (folder is None):
        raise ConfigError("name a URL or a --folder", "tunegate engines check --help")
    project, settings = project_and_settings()
    reports = {hop: project.root / report_of(hop) for hop in HOPS}
    subject = subject_of(model or project.root / MERGED, reports)
    with ExitStack() as stack:
        if folder is not None:
            url = stack.enter_context(_served(folder, project, settings)).url
        found = check_engine(str(url), subject, model=name, engine=engine, access=access())
    emit(found.row(), as_json=as_json, text=found.text())


def _served(folder: Path, project: Any, settings: Any) -> Any:
    """Return llama.cpp's server over the GGUF file of an export, ready."""
    from tasks.engine.llamacpp.server import LlamaCppServer
    from tasks.export.export import verify_export

    manifest = verify_export(folder)
    files = sorted(name for name in manifest["files"] if name.endswith(".gguf"))
    if not files:
        raise ConfigError(f"{folder} holds no GGUF file", "tunegate export gguf --out FOLDER")
    server = LlamaCppServer(project.llamacpp_python)
    source = manifest["source"]
    context = settings.serve.vllm.max_model_length_tokens
    server.start(folder / files[0], project.evaluation_port, source["version_lineage_id"] or source["lineage_id"],
                 project.state / "logs" / "llamacpp.log", context_tokens=context)  # fmt: skip
    try:
        server.wait_ready()
    except BaseException:
        server.stop()
        raise
    return server
