"""The export: one folder with the files another engine reads, licence, and a manifest that names their source."""

import importlib.metadata
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.core.errors import ConfigError, DataContractError, MissingToolError
from tasks.core.files import read_json, replaced_directory, write_text
from tasks.core.manifest import MANIFEST, verify_manifest, write_manifest
from tasks.core.settings import BaseModelParams
from tasks.export.formats import NEEDS_LLAMACPP, GgufType
from tasks.export.gguf_file import write_gguf
from tasks.export.kernels import Kernels
from tasks.export.licence import keep_licence
from tasks.export.modelfile import modelfile
from tasks.export.source import Source
from tasks.models.safety import EXECUTABLE

log = logging.getLogger(__name__)

What = Literal["gguf", "ollama", "safetensors"]
#: Raise when what is written from the same source changes.
RECIPE = 1


@dataclass(frozen=True)
class Request:
    """What is to be exported.

    Args:
        what: gguf, ollama (a GGUF file and its Modelfile) or safetensors.
        source: the weights.
        base: section `base_model`: whose licence binds.
        types: how GGUF files store weights, a file each.
        context_tokens: context that a Modelfile asks for.
        base_folder: the base's folder where it is on this machine, for its licence.
        llamacpp_python: interpreter of .venv-llamacpp; may not be there.
    """

    what: What
    source: Source
    base: BaseModelParams
    types: tuple[GgufType, ...]
    context_tokens: int
    base_folder: Path | None
    llamacpp_python: Path

    def row(self) -> dict[str, Any]:
        """Return what decides the files."""
        made_by: dict[str, Any] = {"recipe": RECIPE}
        if self.what != "safetensors":
            made_by |= {"gguf": importlib.metadata.version("gguf")}
        return {"stage": "export", "what": self.what, "source": self.source.row(), "types": list(self.types),
                "context_tokens": self.context_tokens if self.what == "ollama" else None,
                "made_by": made_by}  # fmt: skip


def export(request: Request, target: Path) -> dict[str, Any]:
    """Write an export and return {"folder", "written", "files", "source"}; one that is there whole is left as it is.

    Args:
        request: what and from where.
        target: folder that does not exist, is empty, or holds the same export.

    Raises:
        ConfigError: the folder holds something else.
        DataContractError: the source cannot be written so.
        MissingToolError: llama.cpp is needed and not there.
    """
    done = _done(request, target)
    if not done:
        _require_tools(request)
        with replaced_directory(target) as partial:
            facts = _WRITERS[request.what](request, partial)
            folders = [request.source.folder, *([request.base_folder] if request.base_folder else [])]
            facts["licence_files"] = keep_licence(request.base, request.source.lineage_id, folders, partial)
            write_manifest(partial, request.row() | facts)
    manifest = read_json(target / MANIFEST)
    sizes = {name: (target / name).stat().st_size for name in manifest["files"]}
    return {"folder": str(target), "written": not done, "files": sizes, "source": manifest["source"]}


def verify_export(folder: Path) -> dict[str, Any]:
    """Return the manifest of an export after checking every file against it.

    Raises:
        DataContractError: a file is changed, missing or added, or the folder is no export.
    """
    manifest = verify_manifest(folder)
    if manifest.get("stage") != "export":
        raise DataContractError(f"{folder} is no export", "tunegate export --help")
    return manifest


def _done(request: Request, target: Path) -> bool:
    """Tell whether the same export is there whole; refuse a folder that holds anything else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    hint = "name a folder that does not exist"
    if not target.is_dir() or not (target / MANIFEST).is_file():
        raise ConfigError(f"{target} exists and is no export", hint)
    kept = verify_export(target)
    expected = request.row()
    if any(kept.get(name) != value for name, value in expected.items()):
        source = kept["source"]
        raise ConfigError(
            f"{target} holds another export: {kept['what']} of hop {source['hop']}, lineage {source['lineage_id']}",
            hint,
        )
    log.info("export: %s holds it already, every file as its manifest says", target)
    return True


def _require_tools(request: Request) -> None:
    """Refuse a type that needs llama.cpp where it is not there."""
    needing = sorted(NEEDS_LLAMACPP & set(request.types))
    if needing and request.what != "safetensors" and not request.llamacpp_python.is_file():
        raise MissingToolError(
            f"{', '.join(needing)} needs llama.cpp's quantizer: {request.llamacpp_python} does not exist",
            "make llamacpp, or --type q8_0",
        )


def _write_gguf(request: Request, folder: Path) -> dict[str, Any]:
    """Write a file of each type."""
    source = request.source
    facts = {
        "general.name": f"{source.version_lineage_id or source.lineage_id} {source.hop}",
        "general.description": f"fine-tuned from {request.base.id} by Tunegate",
        "tunegate.lineage_id": source.lineage_id,
        "tunegate.hop": source.hop,
        "tunegate.source_manifest_sha256": source.manifest_sha256,
    }
    stored = {}
    with Kernels(request.llamacpp_python) as kernels:
        for kind in request.types:
            stored[kind] = write_gguf(source.folder, folder / file_name(kind), kind, facts, kernels)
    return {"stored": stored}


def _write_ollama(request: Request, folder: Path) -> dict[str, Any]:
    """Write a file and the Modelfile over it."""
    kind = _one(request.types)
    text, facts = modelfile(request.source.folder, file_name(kind), request.context_tokens, request.source.lineage_id)
    stored = _write_gguf(request, folder)
    write_text(folder / "Modelfile", text)
    return stored | {"template": facts}


def _write_safetensors(request: Request, folder: Path) -> dict[str, Any]:
    """Copy the hop as it is: safetensors, configuration, tokenizer; nothing that a loader could execute."""
    names = sorted(path.name for path in request.source.folder.iterdir() if path.is_file() and path.name != MANIFEST)
    if bad := [name for name in names if Path(name).suffix.lower() in EXECUTABLE]:
        raise DataContractError(f"{request.source.folder}: {bad[0]} may execute code when loaded", "tunegate run")
    for name in names:
        shutil.copyfile(request.source.folder / name, folder / name)
    return {}


_WRITERS = {"gguf": _write_gguf, "ollama": _write_ollama, "safetensors": _write_safetensors}


def file_name(kind: GgufType) -> str:
    """Return the name of a GGUF file."""
    return f"model-{kind}.gguf"


def _one(types: Sequence[GgufType]) -> GgufType:
    """Return the only type that is asked for."""
    if len(types) != 1:
        raise ConfigError(f"a Modelfile is over one file, not {len(types)}", "give --type once")
    return types[0]
