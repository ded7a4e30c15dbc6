"""What a backup holds: every file with its digest, checked before anything of it is used."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.backup.state_files import all_files
from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json

MANIFEST = "backup.json"
FORMAT = 1
#: What can be left out, each on its own: local state; two databases; files of versions; what `dvc gc` must not take.
PARTS = ("state", "mlflow", "prefect", "artifacts", "kept")
_SHOWN = 5


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Note every file of a backup, last of all, and let nobody but the owner read any of it."""
    files = {}
    for path in all_files(folder):
        path.chmod(0o600)
        files[path.relative_to(folder).as_posix()] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    value = {**facts, "format": FORMAT, "files": files}
    write_json(folder / MANIFEST, value)
    (folder / MANIFEST).chmod(0o600)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o700)
    return value


def read_backup(folder: Path) -> dict[str, Any]:
    """Return what a backup holds, after reading every byte of it.

    Raises:
        ConfigError: it is no backup, or one of a release that is not known here.
        DataContractError: a file was changed, is gone, or was put in.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ConfigError(f"{folder} is no whole backup: it has no {MANIFEST}", "name the folder of another one")
    value: dict[str, Any] = read_json(path)
    if value.get("format") != FORMAT:
        raise ConfigError(f"{folder} has format {value.get('format')}, not {FORMAT}", "restore it with its own release")
    if problems := _problems(folder, value["files"]):
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise DataContractError(f"{folder} is not as it was written: {'; '.join(problems[:_SHOWN])}{more}",
                                "restore another backup")  # fmt: skip
    return value


def _problems(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is not as the list says."""
    there = {path.relative_to(folder).as_posix() for path in all_files(folder)} - {MANIFEST}
    problems = [f"{name} was put in" for name in sorted(there - set(files))]
    problems += [f"{path.relative_to(folder)} is a link" for path in sorted(folder.rglob("*")) if path.is_symlink()]
    for name, facts in sorted(files.items()):
        if _leads_out(name):
            problems.append(f"{name} leads out of it")
        elif name not in there:
            problems.append(f"{name} is gone")
        elif sha256_file(folder / name) != facts["sha256"]:
            problems.append(f"{name} was changed")
    return problems


def _leads_out(name: str) -> bool:
    """Return whether a path is not below the folder it is relative to."""
    return os.path.isabs(name) or ".." in PurePosixPath(name).parts
