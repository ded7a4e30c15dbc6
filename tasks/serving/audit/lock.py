"""One writer at a time on a log's folder."""

import fcntl
import os
from pathlib import Path

from tasks.core.errors import ConfigError

LOCK = ".lock"


def locked(folder: Path) -> int:
    """Return the lock of a log's folder; the kernel frees it when the process dies.

    Raises:
        ConfigError: another writer has it.
    """
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise ConfigError(
            f"another process ({owner}) writes the audit log in {folder}: two would break its chain",
            "tunegate stop, or give this project a folder of its own",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
