"""manifest.json: written last, so that its presence means a complete output. Content only: no clocks, no hosts."""

from pathlib import Path
from typing import Any

from tasks.core.digest import file_digests
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json

MANIFEST = "manifest.json"
SCHEMA = 1


def write_manifest(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a finished output: the header and the SHA-256 of every file."""
    manifest = {"schema": SCHEMA, **header, "files": file_digests(folder, skip=frozenset({MANIFEST}))}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished output.

    Raises:
        DataContractError: there is none: the output is absent or incomplete.
    """
    if not (folder / MANIFEST).is_file():
        raise DataContractError(
            f"{folder} has no {MANIFEST}: absent or incomplete", "tunegate run makes what is missing"
        )
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    return manifest


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking every file against it.

    Raises:
        DataContractError: a file is missing, added or changed since the manifest was written.
    """
    manifest = read_manifest(folder)
    found = file_digests(folder, skip=frozenset({MANIFEST}))
    if found != manifest["files"]:
        names = sorted(set(found.items()) ^ set(manifest["files"].items()))
        changed = ", ".join(dict.fromkeys(name for name, _ in names))
        raise DataContractError(f"{folder} differs from its manifest: {changed}", "dvc checkout, or tunegate run")
    return manifest
