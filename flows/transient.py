"""Which errors mean that a server does not answer at the moment: tried again, and never the end of a stage."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx

from tasks.core.errors import TransientError

#: A server of the 500s is ill or being restarted; 408 and 429 ask to come again.
COME_AGAIN = frozenset({408, 429})

T = TypeVar("T")


def is_silence(error: object) -> bool:
    """Return whether an HTTP error is a server that cannot be reached or answers with an error of its own."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in COME_AGAIN
    return isinstance(error, httpx.TransportError)


def may_work_next_time(error: object) -> bool:
    """Return whether what failed may be tried again: our own transient errors, and a server's silence."""
    return isinstance(error, TransientError) or is_silence(error)


def looks(read: Callable[[], T], *, every_s: float, silence_s: float, say: Callable[[], None]) -> Iterator[T | None]:
    """Yield what a look at a server finds, again and again, and None where it does not answer.

    Args:
        read: one look.
        every_s: between two.
        silence_s: longest silence in a row; then its error is raised.
        say: called at each look that got no answer.
    """
    heard = time.monotonic()
    while True:
        found = None
        try:
            found = read()
            heard = time.monotonic()
        except (TransientError, httpx.HTTPError) as error:
            if not may_work_next_time(error) or time.monotonic() - heard > silence_s:
                raise
            say()
        yield found
        time.sleep(every_s)
