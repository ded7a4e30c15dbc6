"""The base model: from a hub, a folder or the packaged laptop default to one folder of safetensors with a digest."""

import logging
import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.core.digest import file_digests, sha256_json
from tasks.core.errors import ConfigError, MissingToolError, TransientError
from tasks.core.files import read_json, replaced_directory, write_json
from tasks.core.manifest import MANIFEST, SCHEMA, read_manifest
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams
from tasks.models.architecture import require_trainable
from tasks.models.packaged import convert, packaged_digest
from tasks.models.safety import ALLOWED_PATTERNS, require_safe
from tasks.models.tokenizer_files import RECIPE, TOKENIZER_FILES, completion, write_tokenizer
from tasks.models.weights import require_generation_config

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModel:
    """A folder that transformers and vLLM load, and the digest of what it was made from."""

    path: Path
    digest: str


def materialize(params: BaseModelParams, project: Project) -> BaseModel:
    """Return the base model as a folder, fetching or converting it where that is still to do.

    Args:
        params: which model; `digest` null accepts any and logs what was found.
        project: its state folder holds fetched and converted models; local paths are relative to its root.

    Raises:
        ConfigError: the path is absent or the digest is another than params.yaml asks for.
        DataContractError: the folder is not safe to load, or the model cannot be trained here.
        TransientError: the hub did not answer.
    """
    cache = project.state / "models"
    if params.source == "packaged":
        digest = packaged_digest(params.id)
        _require_digest(params, digest)
        return BaseModel(convert(params.id, digest, cache), digest)
    folder = _local(params, project.root) if params.source == "local" else _fetch(params, cache)
    require_safe(folder)
    require_trainable(folder)
    digest = _folder_digest(folder, cache)
    _require_digest(params, digest)
    return BaseModel(_completed(folder, digest, cache), digest)


def folder_digest(folder: Path, project: Project) -> str:
    """Return the digest of a folder that `materialize` returned: the same value, without knowing where it came from."""
    if (folder / MANIFEST).is_file() and "digest" in (manifest := read_manifest(folder)):
        return str(manifest["digest"])
    return _folder_digest(folder, project.state / "models")


def _require_digest(params: BaseModelParams, found: str) -> None:
    """Refuse a base model that is not the one params.yaml names."""
    if params.digest is None:
        log.info("base model %s has digest %s; pin it as base_model.digest in params.yaml", params.id, found)
    elif params.digest != found:
        raise ConfigError(
            f"base model {params.id} has digest {found}, params.yaml asks for {params.digest}",
            "check where the model came from; if the change is meant, set base_model.digest to the new value",
        )


def _local(params: BaseModelParams, root: Path) -> Path:
    """Return the folder of a local model, relative paths from the project root."""
    folder = root / params.id
    if not folder.is_dir():
        raise ConfigError(f"base_model.id: folder {folder} does not exist", "edit base_model in params.yaml")
    return folder


def hub_folder(params: BaseModelParams, cache: Path) -> Path:
    """Return where a hub model is kept once it was fetched."""
    return cache / params.source / params.id.replace("/", "--") / (params.revision or "main")


def _fetch(params: BaseModelParams, cache: Path) -> Path:
    """Download the safe files of a hub model into the cache and return the folder. A second call downloads nothing."""
    folder = hub_folder(params, cache)
    log.info("base model %s: fetching from %s into %s", params.id, params.source, folder)
    fetch = _from_huggingface if params.source == "huggingface" else _from_modelscope
    fetch(params, folder)
    return folder


def _from_huggingface(params: BaseModelParams, folder: Path) -> None:
    """Download from the Hugging Face Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(params.id, revision=params.revision, local_dir=folder, allow_patterns=ALLOWED_PATTERNS)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _hub_error(params, error) from error


def _from_modelscope(params: BaseModelParams, folder: Path) -> None:
    """Download from ModelScope."""
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise MissingToolError("modelscope is not installed", "make setup") from error
    try:
        snapshot_download(params.id, revision=params.revision, local_dir=str(folder), allow_patterns=ALLOWED_PATTERNS)
    except (OSError, ValueError) as error:
        raise _hub_error(params, error) from error


def _hub_error(params: BaseModelParams, error: Exception) -> TransientError:
    """Return one clear message for a hub that cannot be reached or does not have the model."""
    return TransientError(
        f"could not fetch {params.id} from {params.source}: {type(error).__name__}: {error}",
        "check the id and the network (HTTPS_PROXY, HF_ENDPOINT), or use base_model.source: local",
    )


def _completed(folder: Path, digest: str, cache: Path) -> Path:
    """Return the folder itself where its tokenizer files are complete, else one beside it that completes them.

    Every stage and vLLM then read the same tokenizer; the weights are linked, or copied where a link cannot be.
    """
    if not (folder / "tokenizer_config.json").is_file():
        return folder  # named by who loads the tokenizer
    changes = _remembered_completion(folder, digest, cache)
    if not changes:
        return folder
    target = cache / "completed" / sha256_json([digest, changes])[:12]
    if not (target / MANIFEST).is_file():
        log.info("base model: %s is completed by %s", folder, changes)
        with replaced_directory(target) as partial:
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.name not in (*TOKENIZER_FILES, MANIFEST):
                    _link(path, partial / path.name)
            write_tokenizer(folder, partial, changes)
            write_json(partial / MANIFEST, {"schema": SCHEMA, "digest": digest, "completed": changes})
    return target


def _remembered_completion(folder: Path, digest: str, cache: Path) -> dict[str, Any]:
    """Return what completes a folder; it is found out once, as comparing large vocabularies takes seconds."""
    key = sha256_json([digest, RECIPE, metadata.version("transformers"), metadata.version("tokenizers")])
    remembered = cache / "completions" / f"{key}.json"
    if not remembered.is_file():
        require_generation_config(folder)
        write_json(remembered, {"folder": str(folder), "changes": completion(folder)})
    changes: dict[str, Any] = read_json(remembered)["changes"]
    return changes


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where another file system or its owner forbids that."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _folder_digest(folder: Path, cache: Path) -> str:
    """Return the digest over the names and bytes of a model folder; large weights are hashed once per file state."""
    loadable = {path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts}
    state = sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in loadable)
    remembered = cache / "digests" / f"{sha256_json(state)}.json"
    if remembered.is_file():
        return str(read_json(remembered)["digest"])
    names = {path.relative_to(folder).as_posix() for path in loadable}
    digests = {name: value for name, value in file_digests(folder).items() if name in names}
    digest = f"sha256:{sha256_json(digests)}"
    write_json(remembered, {"folder": str(folder), "digest": digest})
    return digest
