"""MLflow's and Prefect's records from a sqlite file into an empty Postgres database, row by row, compared afterwards.

The tables are made by MLflow and Prefect themselves, and a copy of the source is brought to the same schema first, so
that no row is translated between two schemas here. All rows, or none: one transaction, and the source is not touched.
"""

import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.backup.artifacts import artifact_folder, artifact_uri, relocate_in
from tasks.backup.databases import Database, Name, find_database
from tasks.backup.postgres import connected, tables
from tasks.backup.rows import copy_rows
from tasks.backup.sqlite import copy_sqlite, require_closed
from tasks.core import tracking
from tasks.core.errors import ConfigError, TransientError
from tasks.core.project import Project
from tasks.release.history import carry_seen, place_of
from tasks.release.reconcile import exclusively_reconciling
from tasks.release.register import exclusively_registering

log = logging.getLogger(__name__)

#: Made first and dropped with the last row: a move that broke off is known by it, and begun again. A schema, for MLflow
#: takes a database with any table for one that has its own.
UNFINISHED = "tunegate_move_unfinished"
#: The driver that each has for Postgres.
DRIVERS: dict[Name, str] = {"mlflow": "postgresql", "prefect": "postgresql+asyncpg"}


@dataclass(frozen=True)
class Artifacts:
    """Where the files of runs and versions go.

    Args:
        store: a folder or a store (`s3://mlflow`) they are copied to; empty: they stay where they are.
        uri: what the records name instead; `mlflow-artifacts:/` where clients reach them through the server.
    """

    store: str = ""
    uri: str = ""


def move_mlflow(project: Project, model: str, target: str, artifacts: Artifacts, *, clients: str) -> dict[str, Any]:
    """Move MLflow's records; nothing registers or promotes meanwhile.

    Args:
        project: whose sqlite store it is.
        model: name of the registered model.
        target: address of an empty Postgres database.
        artifacts: where files go.
        clients: MLFLOW_TRACKING_URI from now on: what was seen of the history is known under it.

    Returns:
        {"rows": {table: number}, "addresses": how many name another place, "files": where they are}.

    Raises:
        ConfigError: the source is not sqlite, or the target is not empty.
        DataContractError: a row does not fit; nothing was moved.
        TransientError: the target, or the store of files, does not answer.
    """
    source, database = _source(project, "mlflow"), _target("mlflow", target)
    with exclusively_registering(project), exclusively_reconciling(project):
        if artifacts.store and artifact_folder(project).is_dir():
            tracking.upload_tree(artifact_folder(project), artifacts.store)
        before, after = artifact_uri(project), (artifacts.uri or artifacts.store or artifact_uri(project))
        found = _moved(source, database, before, after)
        carry_seen(project, place_of(project.mlflow_uri, model), place_of(clients, model))
    return {**found, "files": after}


def move_prefect(project: Project, target: str) -> dict[str, Any]:
    """Move Prefect's records: runs, logs, deployments, schedules that were paused, variables.

    Returns:
        {"rows": {table: number}}.

    Raises:
        ConfigError: the source is not sqlite, or the target is not empty.
        DataContractError: a row does not fit; nothing was moved.
    """
    found = _moved(_source(project, "prefect"), _target("prefect", target), "", "")
    return {"rows": found["rows"]}


def _moved(source: Database, target: Database, before: str, after: str) -> dict[str, Any]:
    """Copy all rows of a database, and have them name another place of files."""
    with tempfile.TemporaryDirectory(prefix="tunegate-move-") as folder:
        copy = Database(source.name, f"{source.url.partition(':')[0]}:///{Path(folder) / 'copy.db'}")
        copy_sqlite(source.path, copy.path)
        _begin(target)
        _make_tables(copy)
        _make_tables(target)
        with connected(target) as connection:
            rows = copy_rows(copy.path, connection)
            changed = relocate_in(connection, "%s", before, after) if before != after else 0
            connection.cursor().execute(f"DROP SCHEMA {UNFINISHED}")
    log.info("move: %s, %d rows of %d tables", target.shown, sum(rows.values()), len(rows))
    return {"rows": rows, "addresses": changed}


def _source(project: Project, name: Name) -> Database:
    """Return the database to move.

    Raises:
        ConfigError: it is not a sqlite file that is there.
    """
    found = find_database(project, name)
    if found.kind != "sqlite" or not found.there:
        raise ConfigError(f"{name}: {found.shown} is no sqlite database that could be moved",
                          "unset the variable that names another one: the local one is moved")  # fmt: skip
    # What a server writes behind the copy would be lost.
    require_closed([found.path])
    return found


def _target(name: Name, url: str) -> Database:
    """Return the database to move to."""
    found = Database(name, url)
    if found.kind != "postgres":
        raise ConfigError(f"{name}: {found.shown} is not Postgres", "postgresql://USER@HOST:5432/NAME")
    return found


def _begin(target: Database) -> None:
    """Refuse a database that is in use; mark one that is not."""
    with connected(target) as connection:
        there, cursor = tables(connection), connection.cursor()
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (UNFINISHED,))
        if there and cursor.fetchone() is None:
            raise ConfigError(f"{target.shown} has tables already: {', '.join(there[:3])}, ...",
                              "createdb a new one: rows are never mixed")  # fmt: skip
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {UNFINISHED}")


def _make_tables(database: Database) -> None:
    """Have MLflow's or Prefect's tables in a database, of the release that is installed: by their own command.

    Raises:
        TransientError: the command failed.
    """
    address, password = database.url, dict[str, str]()
    if database.kind == "postgres":
        address, password = database.for_program(DRIVERS[database.name])
    environment = {**os.environ, **password}
    if database.name == "mlflow":
        words = ["mlflow", "db", "upgrade", address]
    else:
        words = ["prefect", "server", "database", "upgrade", "--yes"]
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = address
        environment.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL", None)
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise TransientError(f"{' '.join(words[:3])} of {database.shown} failed: {said}", "the same command again")
