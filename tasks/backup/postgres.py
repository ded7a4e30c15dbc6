"""A Postgres database dumped and brought back by Postgres' own programs, and asked through its own driver."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.backup.databases import Database
from tasks.core.errors import MissingToolError, TransientError

CLIENT = "apt-get install postgresql-client: of the server's release or a later one"
#: Ours by their settings, and nobody waits longer for a server.
CONNECT_TIMEOUT_S = 10


def dump(database: Database, target: Path, *, without_rows_of: str | None = None) -> None:
    """Write a dump as of one moment, in Postgres' own format.

    Args:
        without_rows_of: a table that stays empty in it.
    """
    words = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    words += [f"--exclude-table-data=*.{without_rows_of}"] if without_rows_of else []
    _run("pg_dump", database, *words)


def bring_back(database: Database, source: Path, *, replace: bool) -> None:
    """Write a dump into a database: all of it, or nothing where something fails.

    Args:
        replace: take away what stands there.
    """
    words = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    words += ["--clean", "--if-exists"] if replace else []
    _run("pg_restore", database, *words, str(source))


@contextmanager
def connected(database: Database) -> Iterator[Any]:
    """Give a connection whose changes are kept where the body ends well, and taken back where it does not.

    Raises:
        MissingToolError: the driver is not installed.
        TransientError: the server does not answer, or does not take the login.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise MissingToolError("psycopg2, the driver of Postgres, is not installed", "make setup") from error
    address, password = database.for_program()
    try:
        found = psycopg2.connect(address, password=password.get("PGPASSWORD"), connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg2.OperationalError as error:
        raise TransientError(f"Postgres at {database.shown} does not answer: {error}".strip(),
                             "start it, or correct address and password") from error  # fmt: skip
    try:
        with found:
            yield found
    finally:
        found.close()


def tables(connection: Any) -> list[str]:
    """Return the tables of a database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        return [row[0] for row in cursor.fetchall()]


def _run(program: str, database: Database, *words: str) -> None:
    """Run one of Postgres' programs on a database."""
    found = shutil.which(program)
    if found is None:
        raise MissingToolError(f"{program} is not installed", CLIENT)
    address, password = database.for_program()
    done = subprocess.run([found, f"--dbname={address}", *words], capture_output=True, text=True, check=False,
                          env={**os.environ, **password})  # fmt: skip
    if done.returncode == 0:
        return
    said = f"{program} of {database.shown}: {done.stderr.strip()[-600:]}"
    if "server version mismatch" in done.stderr:
        raise MissingToolError(said, CLIENT)
    raise TransientError(said, "start the server, or correct its address; then the same command")
