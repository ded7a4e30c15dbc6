"""The rows of a sqlite file into the same tables of a Postgres database: Postgres parses each value by its column."""

import hashlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError

BATCH_ROWS = 5000
#: Of the schema's own history: made with the tables.
OF_THE_SCHEMA = frozenset({"alembic_version"})
MEND = "nothing was moved: mend that row in the sqlite file (keep a copy of it), then the same command"
MEND = "nothing was moved: mend that row in the sqlite file (keep a copy of it), then the same command"
#: COPY's text format.
NOTHING = "\\N"
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
#: How SQLAlchemy writes a duration into sqlite: as a time after this one.
EPOCH = datetime(1970, 1, 1)
#: Columns whose values read the same from both; of the others Postgres says whether they are what they should be.
COMPARED = frozenset({
    "text", "character varying", "character", "integer", "bigint", "smallint", "double precision", "boolean", "bytea",
    "uuid", "USER-DEFINED",
})  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of the target, by the name of its type in information_schema."""

    name: str
    kind: str


def copy_rows(source: Path, connection: Any) -> dict[str, int]:
    """Copy every table's rows in the connection's transaction, compare them, and return how many each has.

    Args:
        source: a sqlite file with the same schema as the target.
        connection: psycopg2's, on a database with the tables.

    Raises:
        DataContractError: the schemas differ, a row does not fit, or what arrived is not what was sent.
    """
    import psycopg2

    with closing(sqlite3.connect(source)) as here, connection.cursor() as cursor:
        columns = _columns(cursor)
        _require_same(here, columns)
        keys = _take_foreign_keys(cursor)
        _empty(cursor, columns)
        counts = {}
        for table, own in columns.items():
            try:
                counts[table] = _copy_table(here, cursor, table, own)
            except (psycopg2.DataError, psycopg2.IntegrityError) as error:
                said = str(error).strip()[:400]
                raise DataContractError(f"a row of table {table} does not fit into Postgres: {said}", MEND) from error
        _put_foreign_keys(cursor, keys)
        _set_sequences(cursor, columns)
    return counts


def _columns(cursor: Any) -> dict[str, list[Column]]:
    """Return the tables of the target and their columns, without those that Postgres computes."""
    cursor.execute(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER' "
        "ORDER BY c.table_name, c.ordinal_position"
    )
    found: dict[str, list[Column]] = {}
    for table, name, kind in cursor.fetchall():
        if table not in OF_THE_SCHEMA:
            found.setdefault(table, []).append(Column(name, kind))
    return found


def _require_same(here: sqlite3.Connection, columns: dict[str, list[Column]]) -> None:
    """Refuse to lose a table or a column."""
    asked = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in here.execute(asked).fetchall():
        if table in OF_THE_SCHEMA or not here.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone():
            continue
        # table_xinfo: 2 and 3 are columns that sqlite computes.
        own = {row[1] for row in here.execute(f'PRAGMA table_xinfo("{table}")') if row[6] not in (2, 3)}
        if lost := own - {column.name for column in columns.get(table, [])}:
            raise DataContractError(f"table {table}: Postgres has no place for {', '.join(sorted(lost))}",
                                    "upgrade the sqlite file with the release that is installed")  # fmt: skip


def _take_foreign_keys(cursor: Any) -> list[tuple[str, str, str]]:
    """Drop the references between tables while rows are copied, and return them: tables refer to one another."""
    cursor.execute(
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    )
    keys: list[tuple[str, str, str]] = cursor.fetchall()
    for table, name, _ in keys:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    return keys


def _put_foreign_keys(cursor: Any, keys: Iterable[tuple[str, str, str]]) -> None:
    """Have the references again; Postgres holds every row to them.

    Raises:
        DataContractError: a row refers to one that is not there: sqlite does not look at that unless it is asked to.
    """
    import psycopg2

    for table, name, definition in keys:
        try:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        except psycopg2.IntegrityError as error:
            raise DataContractError(f"table {table}: {str(error).strip()[:400]}", MEND) from error


def _empty(cursor: Any, columns: Iterable[str]) -> None:
    """Delete what the makers of the tables put in: the source has its own."""
    for table in columns:
        cursor.execute(f'DELETE FROM "{table}"')


def _copy_table(here: sqlite3.Connection, cursor: Any, table: str, columns: list[Column]) -> int:
    """Copy one table and compare it."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    writers = [_writer(column.kind) for column in columns]
    compared = [place for place, column in enumerate(columns) if column.kind in COMPARED]
    sent, count = _Sum(), 0
    for batch in _batches(here, f'SELECT {names} FROM "{table}"'):
        lines = io.StringIO("".join(_line(row, writers) for row in batch))
        cursor.copy_expert(f'COPY "{table}" ({names}) FROM STDIN', lines)
        for row in batch:
            sent.add([row[place] for place in compared])
        count += len(batch)
    _require_arrived(cursor, table, [columns[place] for place in compared], sent, count)
    return count


def _require_arrived(cursor: Any, table: str, columns: list[Column], sent: "_Sum", count: int) -> None:
    """Read a table back and compare it with what was sent."""
    arrived, read = _Sum(), 0
    names = ", ".join(f'"{one.name}"::text' if one.kind in ("uuid", "USER-DEFINED") else f'"{one.name}"'
                      for one in columns)  # fmt: skip
    cursor.execute(f'SELECT {names or "1"} FROM "{table}"')
    while rows := cursor.fetchmany(BATCH_ROWS):
        for row in rows:
            arrived.add(list(row) if columns else [])
        read += len(rows)
    if (read, arrived.value) != (count, sent.value):
        raise DataContractError(f"table {table}: {count} rows were sent, {read} arrived, and they are not the same",
                                "nothing was moved; tell the developers")  # fmt: skip


def _set_sequences(cursor: Any, columns: dict[str, list[Column]]) -> None:
    """Have the next number follow the highest one of the rows."""
    for table, own in columns.items():
        for column in own:
            cursor.execute("SELECT pg_get_serial_sequence(quote_ident(%s), %s)", (table, column.name))
            if sequence := cursor.fetchone()[0]:
                cursor.execute(f'SELECT setval(%s, coalesce(max("{column.name}"), 0) + 1, false) FROM "{table}"',
                               (sequence,))  # fmt: skip


def _batches(here: sqlite3.Connection, query: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows, some thousand at a time."""
    asked = here.execute(query)
    while rows := asked.fetchmany(BATCH_ROWS):
        yield rows


def _line(row: tuple[Any, ...], writers: list[Callable[[Any], str]]) -> str:
    """Return a row as a line of COPY's text format: CSV would end at a line that is `\\.`, inside a text, too."""
    return "\t".join(NOTHING if value is None else write(value).translate(ESCAPES)
                     for value, write in zip(row, writers, strict=True)) + "\n"  # fmt: skip


def _writer(kind: str) -> Callable[[Any], str]:
    """Return how a value of sqlite is written for a column of this kind."""
    return {
        "timestamp with time zone": lambda value: f"{value}+00",
        "interval": lambda value: f"{(datetime.fromisoformat(value) - EPOCH).total_seconds()} seconds",
        "bytea": lambda value: "\\x" + _bytes(value).hex(),
    }.get(kind, _plain)


def _plain(value: Any) -> str:
    """Return a number or a text as Postgres reads it."""
    return repr(value) if isinstance(value, float) else str(value)


def _bytes(value: Any) -> bytes:
    """Return a value of a column of bytes."""
    return value.encode() if isinstance(value, str) else bytes(value)


class _Sum:
    """A digest of rows in any order."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, row: list[Any]) -> None:
        """Add a row."""
        text = json.dumps([_comparable(value) for value in row], ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        self.value = (self.value + int.from_bytes(digest, "big")) % (1 << 256)


def _comparable(value: Any) -> Any:
    """Return a value as both databases give it: a truth value is a number in sqlite."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value
