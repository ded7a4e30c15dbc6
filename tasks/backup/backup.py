"""Writing a backup: databases as of one moment, the records beside them, a list of digests written last."""

import logging
from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.backup import postgres
from tasks.backup.artifacts import artifact_folder, artifact_uri
from tasks.backup.databases import NAMES, Database, Name, find_database, package_version
from tasks.backup.manifest import write_manifest
from tasks.backup.sqlite import copy_sqlite, has_table, run_statements
from tasks.backup.state_files import copy_records, copy_tree, is_secret, records
from tasks.core.errors import ConfigError
from tasks.core.files import replaced_directory
from tasks.core.project import Project
from tasks.proof.signers import machine_signer
from tasks.proof.trust import USES
from tasks.release.history import place_of
from tasks.release.kept import kept_folder
from tasks.release.reconcile import exclusively_reconciling
from tasks.release.register import exclusively_registering
from tasks.serving.audit import verify
from tasks.serving.audit.chain import day_files

log = logging.getLogger(__name__)

#: Prefect keeps the key of its secret blocks in a table of the same database.
PREFECT_KEYS = "configuration"
PREFECT_KEY = "ENCRYPTION_KEY"


def write_backup(
    project: Project, model: str, target: Path, *, without: Collection[str] = (), secrets: bool = False
) -> dict[str, Any]:
    """Write a project's records into a new folder that its owner alone can read, and return what it holds.

    What registers or promotes waits meanwhile; what serves and what trains goes on.

    Args:
        project: whose.
        model: name of the registered model.
        target: a folder that does not exist.
        without: parts to leave out.
        secrets: with the keys that sign, the audit log's secret, and the key of Prefect's secret blocks.

    Raises:
        ConfigError: the folder exists, or records are behind a server whose database nobody named.
        TransientError: a database does not answer.
        DataContractError: a database is damaged.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already", "name a folder that does not: a backup is never written over")
    databases = [find_database(project, name) for name in NAMES if name not in without]
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced_directory(target) as folder:
        folder.chmod(0o700)
        facts = _facts(project, model, secrets)
        with ExitStack() as alone:
            alone.enter_context(exclusively_registering(project))
            alone.enter_context(exclusively_reconciling(project))
            facts["parts"] = _records(project, folder, without, secrets=secrets)
            for database in databases:
                facts["parts"] |= _database(database, folder, secrets=secrets)
        # After the records that name them: those files are written once, before they are named.
        facts["parts"] |= _files(project, folder, without)
        facts["audit"] = _audit(folder)
        return write_manifest(folder, facts)


def _facts(project: Project, model: str, secrets: bool) -> dict[str, Any]:
    """Return what a restore must know beside the files."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "tunegate": metadata.version("tunegate"),
        "place": place_of(project.mlflow_uri, model),
        "secrets": secrets,
        "public_keys": {use: machine_signer(project, use).public.line for use in USES},
    }


def _records(project: Project, folder: Path, without: Collection[str], *, secrets: bool) -> dict[str, Any]:
    """Copy the local state's records."""
    if "state" in without:
        return {}
    names = records(project)
    kept_back = [] if secrets else [name for name in names if is_secret(project.state / name)]
    names = [name for name in names if name not in kept_back]
    copy_records(project, folder / "state", names)
    return {"state": {"files": len(names), "kept_back": kept_back}}


def _database(database: Database, folder: Path, *, secrets: bool) -> dict[str, Any]:
    """Copy one database, and return what was copied; nothing where there is none yet."""
    if not database.there:
        log.info("backup: %s has no database yet (%s)", database.name, database.shown)
        return {}
    copiers: dict[str, Callable[[Database, Path, bool], str]] = {"sqlite": _sqlite, "postgres": _postgres}
    file = copiers[database.kind](database, folder, secrets)
    facts = {"kind": database.kind, "file": file, "version": package_version(database.name)}
    log.info("backup: %s, %.1f MiB", database.shown, (folder / file).stat().st_size / (1 << 20))
    return {database.name: facts}


def _sqlite(database: Database, folder: Path, secrets: bool) -> str:
    """Copy a sqlite file."""
    target = folder / f"{database.name}.db"
    copy_sqlite(database.path, target)
    if not secrets and _holds_key(database.name) and has_table(target, PREFECT_KEYS):
        run_statements(target, (f"DELETE FROM {PREFECT_KEYS} WHERE key = ?", (PREFECT_KEY,)))
    return target.name


def _postgres(database: Database, folder: Path, secrets: bool) -> str:
    """Dump a Postgres database."""
    target = folder / f"{database.name}.dump"
    hidden = PREFECT_KEYS if not secrets and _holds_key(database.name) else None
    postgres.dump(database, target, without_rows_of=hidden)
    return target.name


def _holds_key(name: Name) -> bool:
    """Return whether a database holds the key of what is encrypted in it; MLflow's stands in its environment."""
    return name == "prefect"


def _files(project: Project, folder: Path, without: Collection[str]) -> dict[str, Any]:
    """Copy what the records name: files of versions in a local store, and what they were made from."""
    parts: dict[str, Any] = {}
    for name, source, facts in (
        ("artifacts", artifact_folder(project), {"uri": artifact_uri(project)}),
        ("kept", kept_folder(project), {}),
    ):
        if name not in without and source.is_dir():
            copy_tree(source, folder / name)
            parts[name] = facts
    return parts


def _audit(folder: Path) -> dict[str, Any] | None:
    """Return what the copied audit log is worth; a log that was tampered with is kept all the same, and told."""
    copied = folder / "state" / "audit"
    if not day_files(copied):
        return None
    found = verify(copied)
    return {"records": found["records"], "problems": found["problems"]}
