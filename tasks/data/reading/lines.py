"""JSON Lines in chunks of whole lines; the reading process only cuts, workers decode and parse."""

import hashlib
from collections.abc import Iterator

from tasks.data.reading.blocks import DamageError
from tasks.data.reading.rows import Chunk, Refused, oversized


def line_chunks(source: str, stream: Iterator[bytes], encoding: str, limit: int, chunk_bytes: int) -> Iterator[Chunk]:
    """Yield chunks of about `chunk_bytes`; a line beyond `limit` bytes is passed over, never held whole.

    Raises:
        DamageError: from the stream, after the last whole line before the damage.
    """
    buffer, line = bytearray(), 1
    try:
        for block in stream:
            buffer += block
            if len(buffer) < chunk_bytes:
                continue
            if cut := buffer.rfind(b"\n") + 1:
                yield Chunk(source, line, "lines", bytes(buffer[:cut]), encoding)
                line += buffer.count(b"\n", 0, cut)
                del buffer[:cut]
            elif len(buffer) > limit:
                refused, buffer = _pass_over(buffer, stream, limit)
                yield Chunk(source, line, "values", [refused])
                line += 1
    except DamageError as damage:
        cut = buffer.rfind(b"\n") + 1
        if cut:
            yield Chunk(source, line, "lines", bytes(buffer[:cut]), encoding)
        raise DamageError(damage.detail, line + buffer.count(b"\n", 0, cut)) from damage
    if buffer:
        yield Chunk(source, line, "lines", bytes(buffer), encoding)


def _pass_over(begun: bytearray, stream: Iterator[bytes], limit: int) -> tuple[Refused, bytearray]:
    """Return the stand-in of a line that is too long, and what follows it in the last block read."""
    digest = hashlib.sha256(begun)
    for block in stream:
        end = block.find(b"\n")
        digest.update(block if end < 0 else block[:end])
        if end >= 0:
            return oversized(digest.hexdigest(), limit), bytearray(block[end + 1 :])
    return oversized(digest.hexdigest(), limit), bytearray()


def whole_lines(stream: Iterator[bytes], limit: int) -> Iterator[bytes | Refused]:
    """Yield lines with their ends, one beyond `limit` bytes as its stand-in."""
    for chunk in line_chunks("", stream, "", limit, chunk_bytes=1 << 18):
        if isinstance(chunk.data, bytes):
            yield from chunk.data.splitlines(keepends=True) if b"\r" not in chunk.data else _split(chunk.data)
        else:
            yield from chunk.data


def _split(data: bytes) -> Iterator[bytes]:
    """Yield lines that end in a line feed; a carriage return alone ends none."""
    *whole, last = data.split(b"\n")
    yield from (line + b"\n" for line in whole)
    if last:
        yield last
