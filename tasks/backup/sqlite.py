"""A sqlite database copied whole while others write to it: sqlite's online backup."""

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from tasks.core.errors import ConfigError, DataContractError, TransientError


def copy_sqlite(source: Path, target: Path) -> None:
    """Write a copy as of one moment, in one file.

    Raises:
        TransientError: it is locked.
        DataContractError: the database is damaged.
    """
    try:
        with closing(_opened(source)) as here, closing(sqlite3.connect(target)) as there:
            here.backup(there)
            # Else what is opened next has a log beside it that no digest is of.
            there.execute("PRAGMA journal_mode=DELETE")
            said = str(there.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.OperationalError as error:
        raise TransientError(f"{source} cannot be copied now: {error}", "the same command again") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(source, str(error)) from error
    if said != "ok":
        raise _damaged(source, said)


def run_statements(path: Path, *statements: tuple[str, tuple[str, ...]]) -> None:
    """Change a copy, and leave nothing of what was deleted on its pages."""
    with closing(sqlite3.connect(path)) as there:
        there.execute("PRAGMA secure_delete=ON")
        for statement, values in statements:
            there.execute(statement, values)
        there.commit()
        there.execute("VACUUM")


def has_table(path: Path, name: str) -> bool:
    """Return whether a database has a table."""
    with closing(_opened(path)) as here:
        asked = here.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
        return asked.fetchone() is not None


def require_closed(paths: Collection[Path]) -> None:
    """Refuse to take databases away from a server: it would go on with files that nobody reads any more.

    Raises:
        ConfigError: a process has one of them open.
    """
    wanted = {str(path.resolve()) for path in paths}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(file.path in wanted for file in process.open_files()):
                raise ConfigError(f"process {process.pid} ({process.name()}) has {', '.join(sorted(wanted))} open",
                                  "end it: make prefect-ui, make mlflow-ui, make workers")  # fmt: skip


def _opened(path: Path) -> sqlite3.Connection:
    """Return a connection that reads."""
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)


def _damaged(path: Path, said: str) -> DataContractError:
    """Return the error for a database that is not whole."""
    return DataContractError(f"{path} is damaged: {said}", "tunegate state restore FOLDER, of the last backup")
