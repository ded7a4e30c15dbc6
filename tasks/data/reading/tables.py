"""Rows of CSV and Parquet files; cells may hold JSON text (`conversations`, `messages`, `history`)."""

import csv
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.data.problems import BadRowError
from tasks.data.reading.blocks import GZIP_MAGIC, DamageError, blocks
from tasks.data.reading.formats.columns import HEADERS
from tasks.data.reading.lines import whole_lines
from tasks.data.reading.rows import DECODER, Refused

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = ",\t;"
_NO_JSON = frozenset({"NaN", "Infinity", "-Infinity"})
BATCH_ROWS = 256


class _Lines:
    """Lines of a table that can be put back."""

    def __init__(self, lines: Iterator[bytes | Refused]) -> None:
        self._lines = lines
        self._back: deque[bytes | Refused] = deque()

    def take(self) -> bytes | Refused | None:
        """Return the next line, None at the end."""
        return self._back.popleft() if self._back else next(self._lines, None)

    def put_back(self, lines: Sequence[bytes | Refused]) -> None:
        """Make lines the next ones again."""
        self._back.extendleft(reversed(lines))


def csv_values(stream: Iterator[bytes], encoding: str, limit: int) -> Iterator[tuple[Any, int]]:
    """Yield the rows of a CSV file as objects, each with its length in bytes.

    A row that breaks the table (a quote that never closes, a cell too many) is refused alone: reading goes on at the
    next line. Blank lines are no rows.

    Raises:
        DamageError: the header cannot be read, or from the stream.
    """
    # The module's own limit is 128 KiB a cell; ours is the row's.
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    encoding = "gb18030" if encoding == "gb18030" else "utf-8"
    lines, number = _Lines(whole_lines(stream, limit)), 0
    try:
        header, delimiter = _header(lines.take(), encoding)
        while (line := lines.take()) is not None:
            if isinstance(line, Refused):
                yield line, len(line.content)
            elif line.strip():
                yield _csv_row(line, lines, header, delimiter, encoding, limit)
            else:
                continue
            number += 1
    except DamageError as damage:
        raise DamageError(damage.detail, number + 1) from damage


def _header(line: bytes | Refused | None, encoding: str) -> tuple[list[str], str]:
    """Return the column names of a CSV file and its delimiter; an empty file has none.

    Raises:
        DamageError: names are missing, double or unreadable.
    """
    if line is None:
        return [], ","
    text = "" if isinstance(line, Refused) else line.decode(encoding, "replace")
    tried = {delimiter: _cells(text, delimiter) or [] for delimiter in DELIMITERS}
    # The delimiter that yields a column of the formats; where none does, the one that yields most columns.
    known = (sign for sign, names in tried.items() if HEADERS.intersection(name.strip().lower() for name in names))
    delimiter = next(known, max(DELIMITERS, key=lambda sign: len(tried[sign])))
    names = [name.strip() for name in tried[delimiter]]
    if not names or not all(names) or len(set(names)) < len(names) or "\ufffd" in text:
        raise DamageError("its header has missing, double or unreadable column names")
    return names, delimiter


def _csv_row(
    first: bytes, lines: _Lines, header: list[str], delimiter: str, encoding: str, limit: int
) -> tuple[Any, int]:
    """Return the row that begins with a line, and its length; lines of a row that does not come to an end go back."""
    data = first
    further: list[bytes | Refused] = []
    cells = _cells(data.decode(encoding, "surrogateescape"), delimiter)
    while cells is None and len(data) <= limit:
        line = lines.take()
        if line is None or isinstance(line, Refused):
            further += [line] if line else []
            break
        data, further = data + line, [*further, line]
        # Inside quotes the number of quotes so far is odd: nothing to try yet.
        if data.count(b'"') % 2 == 0:
            cells = _cells(data.decode(encoding, "surrogateescape"), delimiter)
            break
    if cells is None or len(cells) != len(header):
        lines.put_back(further)
        wrong = "its quotes do not close" if cells is None else f"{len(cells)} cells under {len(header)} columns"
        return Refused(first.strip(), BadRowError("malformed_csv", wrong)), len(first)
    if any("\udc80" <= sign <= "\udcff" for cell in cells if not cell.isascii() for sign in cell):
        problem = BadRowError("malformed_encoding", "bytes that are not in the encoding of the file")
        return Refused(data.strip(), problem), len(data)
    return dict(zip(header, cells, strict=True)), len(data)


def _cells(text: str, delimiter: str) -> list[str] | None:
    """Return the cells of one row, None where its quotes do not pair."""
    try:
        found = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def parquet_values(path: Path) -> Iterator[tuple[Any, int]]:
    """Yield the rows of a Parquet file as objects, each with its length in bytes (the mean of its batch).

    Raises:
        DamageError: the file is no Parquet, or a part of it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 1
    try:
        with _seekable(path) as stream, pq.ParquetFile(stream) as table:
            for batch in table.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                size = batch.nbytes // max(batch.num_rows, 1)
                for value in _batch_values(batch):
                    yield value, size
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DamageError("it is damaged or no Parquet file", number) from error
    except DamageError as damage:
        raise DamageError(damage.detail, number) from damage


def _batch_values(batch: "pa.RecordBatch") -> list[Any]:
    """Return the rows of a batch; one whose text is not UTF-8 as its stand-in."""
    try:
        return _decoded(batch.to_pylist(), batch.schema)
    except UnicodeDecodeError:
        return [_single_row(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _decoded(rows: list[Any], schema: "pa.Schema") -> list[Any]:
    """Return rows with the values of `arrow.json` columns read as the JSON they are."""
    columns = [field for field in schema if _holds_json(field.type)]
    for row in rows if columns else ():
        for field in columns:
            row[field.name] = _as_value(row[field.name], field.type)
    return rows


def _holds_json(kind: "pa.DataType") -> bool:
    """Tell whether a type is `arrow.json`, or has it inside; datasets 5 writes columns of mixed types so."""
    if getattr(kind, "extension_name", "") == "arrow.json":
        return True
    return any(_holds_json(kind.field(number).type) for number in range(kind.num_fields))


def _as_value(value: Any, kind: "pa.DataType") -> Any:
    """Return a value with the JSON texts in it read; text that is no JSON (007) stays text."""
    import pyarrow as pa

    if value is None or not _holds_json(kind):
        return value
    if isinstance(value, str):
        try:
            # NaN is no JSON, whatever Python's reader takes.
            return value if value in _NO_JSON else DECODER.decode(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, dict) and pa.types.is_struct(kind):
        return {name: _as_value(inner, kind.field(name).type) for name, inner in value.items()}
    if isinstance(value, list) and not pa.types.is_map(kind):
        return [_as_value(inner, kind.field(0).type) for inner in value]
    return value


def _single_row(row: "pa.RecordBatch") -> Any:
    """Return the one row of a batch."""
    try:
        return _decoded(row.to_pylist(), row.schema)[0]
    except UnicodeDecodeError:
        content = row.serialize().to_pybytes()
        return Refused(content, BadRowError("malformed_encoding", "text that is not UTF-8"))


@contextmanager
def _seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that can be jumped in, unpacked into a temporary one where it is gzipped."""
    if not path.is_file():
        raise DamageError("it is no regular file")
    with path.open("rb") as stream:
        if stream.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            stream.seek(0)
            yield stream
            return
    with tempfile.TemporaryFile() as unpacked:
        for block in blocks(path):
            unpacked.write(block)
        unpacked.seek(0)
        yield unpacked
