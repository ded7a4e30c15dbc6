"""Which errors mean that a server does not answer at the moment: tried again, and never the end of a stage."""

import time
from collections.abc import Callable, Iterator
from logging import Logger, LoggerAdapter
from typing import TypeVar

import httpx

from tasks.core.errors import TransientError

#: A server of the 500s is ill or being restarted; 408 and 429 ask to come again.
COME_AGAIN = frozenset({408, 429})
#: A server may be restarted, moved or upgraded under a stage of hours, and what the stage has to say to it must wait.
SILENCE_S = 1800.0
ASK_EVERY_S = 5.0

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


def answered(ask: Callable[[], T], what: str, logger: Logger | LoggerAdapter[Logger]) -> T:
    """Ask a server until it answers, for half an hour, and return what it says.

    Prefect's own client gives up at once where a connection that it has not had before is refused.

    Args:
        ask: the question; asked again it must be the same.
        what: it is about, for the log.
        logger: of the run.
    """

    def say() -> None:
        logger.warning("%s: the Prefect server does not answer; asking it again", what)

    answers = looks(lambda: (ask(),), every_s=ASK_EVERY_S, silence_s=SILENCE_S, say=say)
    return next(answer for answer in answers if answer)[0]
