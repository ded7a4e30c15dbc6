"""Items of a JSON array as they stream by, without holding the array.

The standard library's scanner reads one item at a time from a sliding window: 4 us a row of 0.6 KB (ijson's C backend:
3 us). Unlike ijson it reads what JSON Lines rows may hold too (NaN, half surrogate pairs), so a row keeps its id when
its file changes from one container to the other, and an item that is too long is passed over, not built.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tasks.data.problems import BadRowError
from tasks.data.reading.blocks import DamageError
from tasks.data.reading.rows import DECODER, Refused, oversized

_SPACE = re.compile(r"[ \t\n\r]*")
_STRUCTURE = re.compile(r'["{}\[\],]')
_STRING_END = re.compile(r'\\.|"', re.DOTALL)
#: An error this close to the end of the window may be a literal or an escape that is not complete yet.
_MARGIN = 16


class _Window:
    """The part of the text that is being read."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self.text = ""
        self.at = 0
        self.ended = False

    def grow(self) -> None:
        """Drop what was read and at least double what was not: long items are not scanned once for every block."""
        unread = len(self.text) - self.at
        pieces, added = [self.text[self.at :]], 0
        for piece in self._texts:
            pieces.append(piece)
            added += len(piece)
            if added >= max(unread, 1):
                break
        else:
            self.ended = True
        self.text, self.at = "".join(pieces), 0

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.grow()


def array_values(texts: Iterator[str], limit: int) -> Iterator[tuple[Any, int]]:
    """Yield the items of a JSON array, each with its length in characters.

    Raises:
        DamageError: an item is no JSON (where the next begins is unknown then), or the text ends before the array.
    """
    window, number = _Window(texts), 1
    try:
        if window.peek() != "[":
            raise DamageError("it is no JSON array")
        window.at += 1
        if window.peek() == "]":
            window.at += 1
        else:
            while True:
                yield _item(window, limit)
                number += 1
                if (separator := window.peek()) not in (",", "]"):
                    raise DamageError("the array ends early" if not separator else "a comma is missing")
                window.at += 1
                if separator == "]":
                    break
        if window.peek():
            raise DamageError("text follows the array")
    except DamageError as damage:
        raise DamageError(damage.detail, number) from damage


def _item(window: _Window, limit: int) -> tuple[Any, int]:
    """Read the next item."""
    window.peek()
    while True:
        try:
            value, end = DECODER.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            incomplete = error.msg.startswith("Unterminated") or error.pos >= len(window.text) - _MARGIN
            if not incomplete or window.ended:
                where = "the array ends early" if incomplete else f"an item is no JSON: {error.msg}"
                raise DamageError(where) from error
        except (ValueError, RecursionError):
            content, size = _pass_over(window)
            return Refused(content, BadRowError("malformed_json", "cannot be read")), size
        else:
            if end < len(window.text) or window.ended:
                text, window.at = window.text[window.at : end], end
                return _checked(value, text), len(text)
        if len(window.text) - window.at > limit:
            content, size = _pass_over(window)
            return oversized(content.decode(), limit), size
        window.grow()


def _checked(value: Any, text: str) -> Any:
    """Return the value, or its stand-in where its text was not in the encoding of the file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        problem = BadRowError("malformed_encoding", "bytes that are not in the encoding of the file")
        return Refused(text.encode("utf-8", "surrogateescape"), problem)
    return value


def _pass_over(window: _Window) -> tuple[bytes, int]:
    """Skip an item by its brackets and quotes alone; return the digest of its text, and its length."""
    digest, size, depth, quoted = hashlib.sha256(), 0, 0, False
    while True:
        position = window.at
        while found := (_STRING_END if quoted else _STRUCTURE).search(window.text, position):
            sign, position = found[0], found.end()
            if sign == '"':
                quoted = not quoted
            elif not quoted and depth == 0 and sign in ",]}":
                text, window.at = window.text[window.at : found.start()], found.start()
                digest.update(text.encode("utf-8", "surrogatepass"))
                return digest.hexdigest().encode(), size + len(text)
            elif not quoted:
                depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(sign, 0)
        # A backslash at the edge waits for the character it escapes.
        end = len(window.text) - (quoted and not window.ended and _odd_backslashes(window.text, position))
        text, window.at = window.text[window.at : end], end
        digest.update(text.encode("utf-8", "surrogatepass"))
        size += len(text)
        if window.ended:
            raise DamageError("the array ends early")
        window.grow()


def _odd_backslashes(text: str, start: int) -> bool:
    """Tell whether text ends in a backslash that no other escapes."""
    tail = text[start:]
    return (len(tail) - len(tail.rstrip("\\"))) % 2 == 1
