"""Where MLflow's records say that files of runs and versions are: another place once these are moved."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tasks.backup.databases import Database
from tasks.backup.postgres import connected
from tasks.core.project import Project

#: Table, column: every address of a file in MLflow's schema.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def artifact_folder(project: Project) -> Path:
    """Return the folder of a store that keeps its files in local state."""
    return project.state / "mlflow-artifacts"


def artifact_uri(project: Project) -> str:
    """Return the address of that folder, as MLflow has it."""
    return artifact_folder(project).as_uri()


def relocate(database: Database, before: str, after: str) -> int:
    """Have the records name another place for files below `before`, and return how many addresses that were."""
    if before == after:
        return 0
    if database.kind == "sqlite":
        with closing(sqlite3.connect(database.path)) as connection:
            changed = relocate_in(connection, "?", before, after)
            connection.commit()
            return changed
    with connected(database) as connection:
        return relocate_in(connection, "%s", before, after)


def relocate_in(connection: Any, mark: str, before: str, after: str) -> int:
    """Do it in an open transaction; `mark` is how the driver writes a parameter."""
    changed, cursor = 0, connection.cursor()
    for table, column in PLACES:
        # Only whole folders: file:///a is not the beginning of file:///ab.
        cursor.execute(
            f"UPDATE {table} SET {column} = CASE WHEN {column} = {mark} THEN {mark} "
            f"ELSE {mark} || substr({column}, {len(before) + 1}) END "
            f"WHERE {column} = {mark} OR substr({column}, 1, {len(before) + 1}) = {mark}",
            (before, after, after.rstrip("/"), before, f"{before}/"),
        )
        changed += cursor.rowcount
    return changed
