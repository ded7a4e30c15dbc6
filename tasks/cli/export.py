"""`tunegate export gguf | ollama | safetensors | verify`: a finished model for other engines."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings

_TYPES = click.Choice(["f16", "q8_0", "q4_k_m"])


def source_options(command: Any) -> Any:
    """Add the options that say what is exported, and where to."""
    options = (
        click.option("--out", "target", required=True, type=click.Path(path_type=Path),
                     help="Folder; must not exist, or hold the same export."),
        click.option("--version", "number", help="A registered version; else the finished run in this checkout."),
        click.option("--hop", type=click.Choice(["merged", "awq"]), default="merged", show_default=True,
                     help="Which weights."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def export() -> None:
    """Write a finished model for another engine, with licence and a manifest that proves its source.

    Nothing of the pipeline depends on an export, and none is part of a verdict: what was evaluated is the hop it is
    made from. Before an engine serves one, hold it to that: `tunegate engines check`.
    """


@export.command()
@source_options
@click.option("--type", "types", type=_TYPES, multiple=True, default=("q8_0",), show_default=True,
              help="How weights are stored; more than once for more files. q4_k_m needs `make llamacpp`.")  # fmt: skip
@json_option
def gguf(types: tuple[str, ...], as_json: bool, **wanted: Any) -> None:
    """Write GGUF files, for llama.cpp and what is built on it. Llama, Qwen2 and Qwen3 architectures."""
    _export("gguf", types, as_json, **wanted)


@export.command()
@source_options
@click.option("--type", "types", type=_TYPES, multiple=True, default=("q8_0",), show_default=True,
              help="How weights are stored.")  # fmt: skip
@json_option
def ollama(types: tuple[str, ...], as_json: bool, **wanted: Any) -> None:
    """Write a GGUF file and a Modelfile with the same template, stop tokens and sampling."""
    _export("ollama", types, as_json, **wanted)


@export.command()
@source_options
@json_option
def safetensors(as_json: bool, **wanted: Any) -> None:
    """Copy the weights as they are (merged: bf16), safe files alone."""
    _export("safetensors", (), as_json, **wanted)


@export.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check every file of an export against its manifest, and say what it was made from."""
    from tasks.export.export import verify_export

    manifest = verify_export(folder)
    source = manifest["source"]
    whole = f"{len(manifest['files'])} files as written"
    words = f"{folder}: {whole}, {manifest['what']} of hop {source['hop']}, {_whose(source)}"
    emit({"folder": str(folder), "what": manifest["what"], "source": source, "files": manifest["files"]},
         as_json=as_json, text=words)  # fmt: skip


def _export(what: Any, types: tuple[Any, ...], as_json: bool, target: Path, number: str | None, hop: str) -> None:
    """Write one export and say what is where."""
    from tasks.export.export import Request
    from tasks.export.export import export as write
    from tasks.export.formats import TYPES
    from tasks.release.exports import require_hop, source_of_run, source_of_version

    require_hop(hop, what)
    project, settings = project_and_settings()
    if number is None:
        source = source_of_run(project, hop)
    else:
        from tasks.release.registry import Registry

        source = source_of_version(project, Registry(project, settings.register_.model_name), number, hop)
    request = Request(
        what, source, settings.base_model, tuple(kind for kind in TYPES if kind in types),
        settings.serve.vllm.max_model_length_tokens, _base_folder(project, settings), project.llamacpp_python,
    )  # fmt: skip
    done = write(request, target)
    files = [f"  {name}  {size / 2**20:.1f} MiB" for name, size in sorted(done["files"].items())]
    said = "written" if done["written"] else "there already, unchanged"
    lines = [f"{target}: {said}; {what} of hop {hop}, {_whose(done['source'])}", *files]
    if what == "gguf":
        lines.append(f"next: tunegate engines check --folder {target}")
    emit(done, as_json=as_json, text="\n".join(lines))


def _whose(source: dict[str, Any]) -> str:
    """Return the source of an export in words."""
    version = f"version {source['version']}, " if source["version"] else ""
    return f"{version}lineage {source['lineage_id']}, manifest {source['manifest_sha256'][:12]}"


def _base_folder(project: Any, settings: Any) -> Path | None:
    """Return where the base's own files lie on this machine; None for one that comes in a package."""
    from tasks.models.base import hub_folder

    base = settings.base_model
    if base.source == "packaged":
        return None
    return project.root / base.id if base.source == "local" else hub_folder(base, project.state / "models")
