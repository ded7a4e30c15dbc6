"""DVC's lock on the workspace: who holds it, and waiting for it where a finished stage would be lost.

DVC 3.67 gives its lock up while a stage's command runs and takes it again to record the outputs. Where another command
holds it then for longer than three seconds, the outputs are not recorded, and the next run deletes them.
"""

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.core.progress import duration
from tasks.core.project import Project

log = logging.getLogger(__name__)

#: Where DVC keeps the lock; it holds the process id of whoever took it last. Source: dvc/repo/__init__.py, dvc/lock.py.
LOCK = Path(".dvc/tmp/lock")
POLL_S = 0.5
SAY_EVERY_S = 60.0
#: How much of a command is told: its options may carry an address or a secret.
WORDS = 3
CHARACTERS = 80


@dataclass(frozen=True)
class Holder:
    """A process that holds DVC's lock.

    Args:
        pid: process id; 0 where the lock is held and nobody can say by whom (another machine on a shared disk).
        command: first words of its command line; empty where it cannot be read.
    """

    pid: int
    command: str

    def __str__(self) -> str:
        name = f"`{self.command}`" if self.command else "another DVC command"
        return f"{name} (pid {self.pid})" if self.pid else name


def holder_of(project: Project) -> Holder | None:
    """Return who holds DVC's lock now, or None where it is free."""
    try:
        with (project.root / LOCK).open("rb") as stream:
            if _free(stream.fileno()):
                return None
            said = stream.read(32).strip()
    except FileNotFoundError:
        return None
    pid = int(said) if said.isdigit() else 0
    return Holder(pid, _command_of(pid))


def wait_until_free(project: Project) -> None:
    """Wait until nobody holds DVC's lock: the last act of a stage that DVC runs.

    Not waited for: a command above this process, which gives the lock up when this one ends.
    """
    started, told = time.monotonic(), float("-inf")
    while (holder := holder_of(project)) and not _above_this_process(holder.pid):
        now = time.monotonic()
        if now - told > SAY_EVERY_S:
            told = now
            log.warning("the stage is done; DVC can record it when %s lets go of its lock (%s so far)",
                        holder, duration(now - started))  # fmt: skip
        time.sleep(POLL_S)


def _free(descriptor: int) -> bool:
    """Return whether a lock could be had; it is given back at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _command_of(pid: int) -> str:
    """Return the first words of a process's command line, programs by their names."""
    import psutil

    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return ""
    named = [os.path.basename(word) if "/" in word else word for word in words if word and not word.startswith("-")]
    # A script shows as its interpreter and itself.
    if len(named) > 1 and named[0].startswith("python"):
        named = named[1:]
    return " ".join(" ".join(named[:WORDS]).split())[:CHARACTERS]


def _above_this_process(pid: int) -> bool:
    """Return whether a process is an ancestor of this one."""
    import psutil

    return any(parent.pid == pid for parent in psutil.Process().parents())
