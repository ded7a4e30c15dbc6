"""Which errors mean that a server does not answer at the moment: tried again, and never the end of a stage."""

import httpx

from tasks.core.errors import TransientError

#: A server of the 500s is ill or being restarted; 408 and 429 ask to come again.
COME_AGAIN = frozenset({408, 429})


def is_silence(error: object) -> bool:
    """Return whether an HTTP error is a server that cannot be reached or answers with an error of its own."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in COME_AGAIN
    return isinstance(error, httpx.TransportError)


def may_work_next_time(error: object) -> bool:
    """Return whether what failed may be tried again: our own transient errors, and a server's silence."""
    return isinstance(error, TransientError) or is_silence(error)
