"""From files to workers (`Chunk`), from a chunk to the parser (`RawRow`): every raw row, readable or not."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from tasks.core.settings import ReadParams
from tasks.data.problems import BadRowError

BOM = b"\xef\xbb\xbf"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Refused:
    """A raw row that could not be read; stands among the values of a chunk.

    Args:
        content: what its id is hashed from.
        problem: why it could not be read.
    """

    content: bytes
    problem: BadRowError


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one file, cheap to cut and to pickle.

    Args:
        source: file relative to data/raw.
        first_line: line (JSON Lines) or row number (arrays, tables) of the first row, from 1.
        kind: `lines`: `data` is whole lines of JSON, still bytes; `values`: a list of values and `Refused` rows.
        data: the rows.
        encoding: of `lines`.
    """

    source: str
    first_line: int
    kind: Literal["lines", "values"]
    data: bytes | list[Any]
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it stands in a file.

    Args:
        source: file relative to data/raw.
        index: position of the row in its chunk, from 0; blank lines are no rows.
        line: line (JSON Lines) or row number (arrays, tables) in the file, from 1.
        content: canonical bytes of the row, what its id is hashed from; alike whatever the container.
        value: the row, None where it could not be read.
        problem: why it could not be read.
    """

    source: str
    index: int
    line: int
    content: bytes
    value: Any
    problem: BadRowError | None = None


def rows_of(chunk: Chunk, params: ReadParams) -> Iterator[RawRow]:
    """Yield every row of a chunk, readable or not, in order."""
    limit = params.max_row_mib * MIB
    if isinstance(chunk.data, bytes):
        yield from _line_rows(chunk, chunk.data, limit)
    else:
        for index, value in enumerate(chunk.data):
            yield _value_row(chunk.source, index, chunk.first_line + index, value, limit)


def _line_rows(chunk: Chunk, data: bytes, limit: int) -> Iterator[RawRow]:
    """Yield the rows of JSON lines; blank lines are none."""
    index = 0
    for line, raw in enumerate(data.split(b"\n"), start=chunk.first_line):
        if len(raw) > limit:
            refused = oversized(hashlib.sha256(raw).hexdigest(), limit)
            yield RawRow(chunk.source, index, line, refused.content, None, refused.problem)
        elif stripped := raw.strip():
            # Files joined end to end carry byte order marks further down: no part of the row, but no blank either.
            yield _line_row(chunk, index, line, stripped.removeprefix(BOM))
        else:
            continue
        index += 1


def _line_row(chunk: Chunk, index: int, line: int, data: bytes) -> RawRow:
    """Return one line as a row."""
    try:
        value = _decoded(data, chunk.encoding)
        return RawRow(chunk.source, index, line, canonical(value), value)
    except UnicodeDecodeError as error:
        problem = BadRowError("malformed_encoding", f"byte {error.start + 1} is not {chunk.encoding.upper()}")
    except json.JSONDecodeError as error:
        # The parser's own words name the position; they never quote the row.
        problem = BadRowError("malformed_json", f"{error.msg}, character {error.pos + 1}")
    except (ValueError, RecursionError):
        problem = BadRowError("malformed_json", "too deep, or a number of thousands of digits")
    return RawRow(chunk.source, index, line, data, None, problem)


def _decoded(data: bytes, encoding: str) -> Any:
    """Return the value of a line of JSON."""
    if encoding == "utf-8":
        # The standard library reads some of what orjson refuses, and says what is wrong.
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(data)
    return DECODER.decode(data.decode(encoding))


def _integer(text: str) -> float:
    """Return an integer as orjson reads it: beyond 64 bits it is a float, in every container alike."""
    value = int(text)
    if -(1 << 63) <= value < 1 << 64:
        return value
    if math.isinf(long := float(text)):
        raise ValueError("an integer beyond all floats")
    return long


#: Reads what orjson refuses: half surrogate pairs, NaN.
DECODER = json.JSONDecoder(parse_int=_integer)


def _value_row(source: str, index: int, line: int, value: Any, limit: int) -> RawRow:
    """Return one value as a row."""
    if isinstance(value, Refused):
        return RawRow(source, index, line, value.content, None, value.problem)
    content = canonical(value)
    if len(content) > limit:
        refused = oversized(hashlib.sha256(content).hexdigest(), limit)
        return RawRow(source, index, line, refused.content, None, refused.problem)
    return RawRow(source, index, line, content, value)


def canonical(value: Any) -> bytes:
    """Return one form of a value whatever the order of its keys and the container it came in."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Half surrogate pairs and integers beyond 64 bits; types of tables that JSON has not stand as their text.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr).encode()


def oversized(digest: str, limit: int) -> Refused:
    """Return the stand-in of a row too long to be read; it is named by the digest of its bytes."""
    detail = f"the row is longer than prepare.read.max_row_mib: {limit // MIB}"
    return Refused(f"oversized sha256:{digest}".encode(), BadRowError("oversized", detail))
