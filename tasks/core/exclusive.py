"""One at a time: a lock file that dies with its process."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.core.errors import TransientError

POLL_S = 0.1


@contextmanager
def exclusively(path: Path, *, wait_s: float, busy: tuple[str, str]) -> Iterator[None]:
    """Hold a lock for the body of the `with`; the kernel frees it when this process ends, however it ends.

    Args:
        path: lock file; made where it does not exist, never removed (a removed file could be locked twice).
        wait_s: how long to wait for whoever holds it.
        busy: message and hint where it stays held.

    Raises:
        TransientError: another process holds it longer than `wait_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("w") as stream:
        while not locked(stream):
            if time.monotonic() > deadline:
                raise TransientError(*busy)
            time.sleep(POLL_S)
        yield


def locked(stream: IO[Any]) -> bool:
    """Take the lock of an open file if nobody has it, and return whether it is taken."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
