"""Bringing a backup back: every byte checked first, nothing written over unasked, what stood there set aside."""

import logging
import shutil
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.backup import postgres
from tasks.backup.artifacts import artifact_folder, artifact_uri, relocate
from tasks.backup.databases import NAMES, Database, find_database, package_version
from tasks.backup.manifest import PARTS, read_backup
from tasks.backup.sqlite import require_closed
from tasks.backup.state_files import is_secret, records
from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.proof.signers import SOURCES, machine_key_path, machine_signer
from tasks.proof.trust import USES, project_trust
from tasks.release.history import carry_seen, place_of
from tasks.release.kept import kept_folder
from tasks.release.reconcile import exclusively_reconciling
from tasks.serving.host_lock import HostLock

log = logging.getLogger(__name__)


def restore_backup(
    project: Project, model: str, folder: Path, *, without: Collection[str] = (), force: bool = False
) -> dict[str, Any]:
    """Bring a backup back into a project that nobody serves, and return what is to be known about it.

    Args:
        project: where to; its own databases, as its environment names them.
        model: name of the registered model.
        folder: the backup.
        without: parts to leave as they are.
        force: where something stands already, set it aside (files), or replace it (Postgres).

    Returns:
        {"parts", "made", "set_aside": folder or None, "notes": [what to do next]}.

    Raises:
        ConfigError: something stands there already, the project is served, or a database is of another kind.
        DataContractError: the backup is not as it was written; nothing was touched.
    """
    value = read_backup(folder)
    parts = [name for name in PARTS if name in value["parts"] and name not in without]
    databases: dict[str, Database] = {name: find_database(project, name) for name in NAMES if name in parts}
    _require_kinds(databases, value["parts"])
    with HostLock(project), exclusively_reconciling(project):
        set_aside = _make_room(project, folder, parts, databases, force=force)
        for name in parts:
            _bring_back(project, folder, name, value["parts"], databases, force=force)
        if "mlflow" in parts and "artifacts" in parts:
            relocate(databases["mlflow"], value["parts"]["artifacts"]["uri"], artifact_uri(project))
    carry_seen(project, value["place"], place_of(project.mlflow_uri, model))
    notes = [*_key_notes(project, value), *_version_notes(value, parts)]
    return {"parts": parts, "made": value["made"], "set_aside": str(set_aside) if set_aside else None, "notes": notes}


def _require_kinds(databases: Mapping[str, Database], parts: Mapping[str, Any]) -> None:
    """Refuse to bring a sqlite file into Postgres, or the other way: `move` does the one, nothing the other."""
    for name, database in databases.items():
        kind = parts[name]["kind"]
        if database.kind != kind:
            raise ConfigError(
                f"the backup has {name} from {kind}, and this project's is {database.shown}",
                "restore it where it is sqlite, then tunegate state move" if kind == "sqlite"
                else f"name a Postgres database for {name}, or --without {name}",
            )  # fmt: skip


def _make_room(
    project: Project, folder: Path, parts: Collection[str], databases: Mapping[str, Database], *, force: bool
) -> Path | None:
    """Refuse what is written over unasked; where it is asked for, move files aside and return where they are now."""
    there = [path for name in parts for path in _targets(project, folder, name, databases) if path.exists()]
    full = [one for one in databases.values() if one.kind == "postgres" and _has_tables(one)]
    if (there or full) and not force:
        names = [str(path) for path in there[:4]] + [one.shown for one in full]
        raise ConfigError(f"there is something already: {', '.join(names)}",
                          "restore into another clone; --force sets files aside and replaces databases")  # fmt: skip
    if not there:
        return None
    require_closed([path for path in there if path.is_file() and path.suffix == ".db"])
    aside = project.state / f"before-restore-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    for path in there:
        target = aside / (path.relative_to(project.state) if path.is_relative_to(project.state) else path.name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(path, target)
    return aside


def _targets(project: Project, folder: Path, name: str, databases: Mapping[str, Database]) -> list[Path]:
    """Return the files that a part is written to."""
    if name in databases:
        database = databases[name]
        # A log of what is not in the file yet belongs to the old one.
        ends = ("", "-wal", "-shm", "-journal")
        return [Path(f"{database.path}{end}") for end in ends] if database.kind == "sqlite" else []
    if name == "state":
        # All records, those too that the backup has not: half of a chained log behind another's beginning is no log.
        # Keys stay where the backup has none.
        there = [project.state / record for record in records(project)]
        return [path for path in there if not is_secret(path) or _copy_of(project, folder, path).is_file()]
    return [artifact_folder(project) if name == "artifacts" else kept_folder(project)]


def _copy_of(project: Project, folder: Path, path: Path) -> Path:
    """Return where the backup has a file of the local state."""
    return folder / "state" / path.relative_to(project.state)


def _has_tables(database: Database) -> bool:
    """Return whether a Postgres database is in use."""
    with postgres.connected(database) as connection:
        return bool(postgres.tables(connection))


def _bring_back(
    project: Project,
    folder: Path,
    name: str,
    parts: Mapping[str, Any],
    databases: Mapping[str, Database],
    *,
    force: bool,
) -> None:
    """Write one part."""
    log.info("restore: %s", name)
    if name in databases and databases[name].kind == "postgres":
        postgres.bring_back(databases[name], folder / parts[name]["file"], replace=force)
    elif name in databases:
        target = databases[name].path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / parts[name]["file"], target)
    else:
        target = {"state": project.state, "artifacts": artifact_folder(project), "kept": kept_folder(project)}[name]
        # Modes come with the files: their owner's alone.
        shutil.copytree(folder / name, target, dirs_exist_ok=True, copy_function=shutil.copy2)


def _key_notes(project: Project, value: Mapping[str, Any]) -> list[str]:
    """Return what to do where this machine signs with other keys than the one that was backed up."""
    notes = []
    for use in USES:
        line = value["public_keys"][use]
        known = {key.line for key in project_trust(project).keys_for(use, "demo").values()}
        if line in known:
            continue
        own, place = machine_signer(project, use).public.key_id, machine_key_path(project, use)
        notes.append(
            f"the {use} key is another one here ({own}): put the old one at {place} or into ${SOURCES[use]}, or list "
            f"its public half in infra/approvers.yaml: {line}"
        )
    return notes


def _version_notes(value: Mapping[str, Any], parts: Collection[str]) -> list[str]:
    """Return what to do where a database has the tables of another release."""
    commands = {"mlflow": "mlflow db upgrade ADDRESS", "prefect": "prefect server database upgrade"}
    notes = []
    for name in NAMES:
        if name in parts and (made := value["parts"][name]["version"]) != (here := package_version(name)):
            notes.append(f"{name}'s tables are of {made}, installed is {here}: {commands[name]}")
    return notes
