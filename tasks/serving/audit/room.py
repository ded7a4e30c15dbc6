"""The log's own room on the disk: a reserve set aside, and a floor of free space below which nothing is taken in."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

RESERVE = ".reserve"
#: Room for the answers under way when the disk fills: hundreds of full-length ones.
RESERVE_BYTES = 4 << 20


@dataclass(frozen=True)
class Room:
    """What the log needs of its disk.

    Args:
        reserve_bytes: set aside in a file, and given up first when the disk is full.
        free_bytes: free space below which the log is unhealthy, so that callers are refused before it is full.
    """

    reserve_bytes: int = RESERVE_BYTES
    free_bytes: int = 0

    @property
    def watched(self) -> bool:
        """Whether free space is looked at while nothing is written, too."""
        return self.free_bytes > 0

    def require(self, folder: Path) -> None:
        """Refuse a disk that is nearly full.

        Raises:
            OSError: less is free than asked for.
        """
        if not self.watched:
            return
        stat = os.statvfs(folder)
        free = stat.f_bavail * stat.f_frsize
        if free < self.free_bytes:
            asked = f"{free >> 20} MiB are free and serve.gateway.audit.min_free_mib asks for {self.free_bytes >> 20}"
            raise OSError(errno.ENOSPC, f"{asked}: free some (tunegate versions prune), or move the log")

    def set_aside(self, folder: Path) -> None:
        """Have the reserve on the disk.

        Raises:
            OSError: there is no room for it.
        """
        reserve = os.open(folder / RESERVE, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(reserve, 0, self.reserve_bytes)
        finally:
            os.close(reserve)

    def give_up(self, folder: Path) -> bool:
        """Free the reserve; return whether there was one."""
        try:
            (folder / RESERVE).unlink()
        except FileNotFoundError:
            return False
        return True
