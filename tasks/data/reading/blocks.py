"""The bytes of a raw file, block by block: plain or gzipped, in any of the encodings, up to where it is damaged."""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tasks.data.reading.encoding import GB18030_BOM, sample_encoding
from tasks.data.reading.rows import BOM

#: Fixed, whatever the chunk size: how far a damaged file can be read must not depend on how it is cut.
BLOCK_BYTES = 1 << 18
HEAD_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


class DamageError(Exception):
    """A file cannot be read from here on.

    Args:
        detail: what is wrong; never the file's own text.
        line: line or row number the unread rest begins at, from 1.
    """

    def __init__(self, detail: str, line: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = line


def blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, unpacked where it is gzipped.

    Raises:
        DamageError: it is no regular file, cannot be opened, or its gzip stream is broken; after the last good block.
    """
    try:
        # Not only directories: opening a pipe would wait for a writer that never comes.
        if path.exists() and not path.is_file():
            raise DamageError("it is no regular file")
        with path.open("rb") as stream:
            packed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            if path.suffix == ".gz" and not packed and path.stat().st_size:
                raise DamageError("it is named .gz and is no gzip file")
            yield from _inflated(stream) if packed else iter(lambda: stream.read(BLOCK_BYTES), b"")
    except OSError as error:
        raise DamageError(f"it cannot be read: {error.strerror}") from error


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the unpacked content of a gzip file of one or more members."""
    inflater, inside, data = zlib.decompressobj(wbits=31), False, b""
    while data := data or stream.read(BLOCK_BYTES):
        # Padding after a member is no damage (gzip's own tool ignores it, tar writes it).
        if not inside and not (data := data.lstrip(b"\x00")):
            continue
        inside = True
        inflater, piece = _next_piece(inflater, data)
        data = inflater.unconsumed_tail
        if inflater.eof:
            inflater, inside, data = zlib.decompressobj(wbits=31), False, inflater.unused_data
        if piece:
            yield piece
    if inside:
        yield inflater.flush()
        if not inflater.eof:
            raise DamageError("its gzip stream ends early")


def _next_piece(inflater: "zlib._Decompress", data: bytes, size: int = BLOCK_BYTES) -> tuple["zlib._Decompress", bytes]:
    """Return the state of the inflater and its next bytes; before damage ever fewer, down to the last good one."""
    before = inflater.copy()
    try:
        return inflater, inflater.decompress(data, size)
    except zlib.error as error:
        if size == 1:
            raise DamageError(f"its gzip stream is corrupt ({error})") from error
        return _next_piece(before, data, size // 2)


def encoding_of(path: Path) -> str:
    """Return the encoding of a file, decided on its head and, where it can be jumped in, on pieces of the rest.

    A file whose head cannot be read counts as UTF-8: its damage is met again where it is read.
    """
    pieces = [head := _head(path)]
    if len(head) >= HEAD_BYTES and not _is_packed(path):
        pieces += _spread(path)
    return sample_encoding(pieces)


def _is_packed(path: Path) -> bool:
    """Tell whether a file is gzipped."""
    with path.open("rb") as stream:
        return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _head(path: Path) -> bytes:
    """Return the first bytes of a file's content."""
    head = b""
    # Of a damaged file what could be read is the sample.
    with suppress(DamageError):
        for block in blocks(path):
            head += block
            if len(head) >= HEAD_BYTES:
                break
    return head[:HEAD_BYTES]


def _spread(path: Path, count: int = 8, size: int = 1 << 16) -> Iterator[bytes]:
    """Yield pieces from all over a plain file, cut at line ends."""
    with path.open("rb") as stream:
        step = path.stat().st_size // (count + 1)
        for number in range(1, count + 1):
            stream.seek(number * step)
            yield stream.read(size).partition(b"\n")[2].rpartition(b"\n")[0]


def byte_lines(stream: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield blocks in which byte 10 ends a line: without byte order mark, UTF-16 and UTF-32 as UTF-8."""
    if encoding.startswith(("utf-16", "utf-32")):
        stream = _transcoded(stream, encoding)
    head = b""
    for block in stream:
        head += block
        if len(head) >= len(GB18030_BOM):
            break
    mark = GB18030_BOM if encoding == "gb18030" else BOM
    if head := head.removeprefix(mark):
        yield head
    yield from stream


def _transcoded(stream: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield UTF-16 or UTF-32 as UTF-8; half surrogate pairs and odd bytes become bytes that are no UTF-8.

    So damage stays in its line, and the line is refused as wrongly encoded.
    """
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for block in stream:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield b"\xff"


def text_blocks(stream: Iterator[bytes], encoding: str) -> Iterator[str]:
    """Yield blocks as text; bytes that are not in the encoding stand as escapes U+DC80 to U+DCFF."""
    encoding = "gb18030" if encoding == "gb18030" else "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    for block in stream:
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)
