"""Room on the disk that belongs to one file before anything is written to it, so that nobody else can take it."""

import ctypes
import os

KEEP_SIZE = 1
_libc = ctypes.CDLL(None, use_errno=True)


def allocate_ahead(file: int, length: int) -> None:
    """Allocate bytes behind the end of an open file, leaving its size as it is.

    Python's `posix_fallocate` would move the end, and readers of the log would find zeros there.

    Raises:
        OSError: there is no room, or the file system has no such thing.
    """
    start = os.fstat(file).st_size
    if _libc.fallocate(file, KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
