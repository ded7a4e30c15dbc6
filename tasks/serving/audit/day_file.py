"""One day's file on the disk: whole blocks or nothing, and nothing taken for kept that the disk did not confirm."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from tasks.serving.audit.ahead import allocate_ahead
from tasks.serving.audit.chain import TAIL_BYTES

log = logging.getLogger(__name__)


class DayFile:
    """The file that records are appended to. Runs in the writer's thread.

    Args:
        path: the file; made where it is not there. Half a line at its end is set aside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        cut_torn_line(path)
        self._file = self._opened()
        self._end = self._kept_end = os.fstat(self._file).st_size
        self._not_confirmed = bytearray()

    @property
    def confirmed(self) -> bool:
        """Whether the disk has confirmed all that was appended."""
        return not self._not_confirmed

    def append(self, block: bytes) -> None:
        """Append a block; where that fails, nothing of it is left before the next one is written.

        Raises:
            OSError: it is not in the file.
        """
        if self._file < 0:
            self._file = self._opened()
            self._cut()
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # What a short write left must not stay: the block comes again, whole.
            with suppress(OSError):
                self._cut()
            self.close()
            raise
        self._end += len(block)
        self._not_confirmed += block

    def sync(self) -> None:
        """Have the disk keep what was appended.

        Raises:
            OSError: it may not have kept it; `prove` is due.
        """
        if self._file >= 0:
            os.fdatasync(self._file)
            self._kept_end = self._end
            self._not_confirmed.clear()

    def prove(self) -> None:
        """Write again, at its place, what the disk has not confirmed, and have it confirmed.

        After a failed sync the kernel takes the pages for clean: a second sync would succeed with the records lost.

        Raises:
            OSError: the disk is still ill.
        """
        # Not the appending handle: it would write at the end, whatever the offset.
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            done = 0
            while done < len(self._not_confirmed):
                done += os.pwrite(file, self._not_confirmed[done:], self._kept_end + done)
            os.fdatasync(file)
        finally:
            os.close(file)
        self._kept_end = self._end
        self._not_confirmed.clear()

    def allocate(self, length: int) -> None:
        """Have room behind the end that no other file can take; where the file system has no such thing, go without."""
        with suppress(OSError):
            if self._file < 0:
                self._file = self._opened()
            allocate_ahead(self._file, length)

    def close(self) -> None:
        """Close it; the next append opens it again."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _opened(self) -> int:
        """Return a handle that appends."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _cut(self) -> None:
        """Take off what lies behind the last whole block."""
        size = os.fstat(self._file).st_size
        if size > self._end:
            os.ftruncate(self._file, self._end)
        self._end = min(self._end, size)


def cut_torn_line(path: Path) -> None:
    """Move what a killed process left half-written at the end of a file into `<file>.torn`."""
    size = path.stat().st_size if path.is_file() else 0
    if size == 0:
        return
    with path.open("r+b") as stream:
        stream.seek(max(0, size - TAIL_BYTES))
        torn = stream.read().rpartition(b"\n")[2]
        if torn:
            log.warning("audit: %s ended in half a record; kept in %s.torn", path, path.name)
            with path.with_name(f"{path.name}.torn").open("ab") as kept:
                kept.write(torn + b"\n")
            stream.truncate(size - len(torn))
