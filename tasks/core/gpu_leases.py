"""One stage at a time on a card, of all checkouts and users of a machine: a lease that ends with its holder.

A lease is a lock on a file of the card's name. The kernel frees it when the process ends, however it ends, so that the
next takes over with nothing to clean up. What a scheduler gave (Kubernetes, Slurm) is apart already: containers do not
share the folder.
"""

import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.core.exclusive import locked
from tasks.core.progress import duration

log = logging.getLogger(__name__)

FOLDER = "tunegate-gpu-leases"
POLL_S = 2.0
SAY_EVERY_S = 60.0

#: Cards that this process holds: who works on a card may begin further work on it.
_held: set[str] = set()


@contextmanager
def leased(cards: Mapping[str, str], least: int, most: int, what: str) -> Iterator[list[str]]:
    """Hold as many of these cards as are free, `least` or more; wait where others work on them, and say who.

    All or none: two who wait for two cards each never hold one each.

    Args:
        cards: which may be taken, the best first: the name of its lease -> how people call it.
        least: cards the work cannot do without.
        most: cards it can use.
        what: the work, for others who wait.

    Raises:
        ConfigError: the folder of the leases belongs to somebody who may read what others write there, or is no folder.
    """
    folder, began, told = _folder(), time.monotonic(), float("-inf")
    while True:
        with ExitStack() as stack:
            taken: list[str] = []
            for card in cards:
                if len(taken) < most and _taken(stack, folder / card, what):
                    taken.append(card)
            if len(taken) >= least:
                yield taken
                return
        if time.monotonic() - told > SAY_EVERY_S:
            told = time.monotonic()
            holders = "; ".join(f"{called}: {_holder(folder / card)}" for card, called in cards.items())
            log.info("waits for %d GPU(s), %s so far: %s", least, duration(told - began), holders)
        time.sleep(POLL_S)


def _taken(stack: ExitStack, path: Path, what: str) -> bool:
    """Take a lease until the stack is left, if nobody else has it."""
    if path.name in _held:
        return True
    stream = stack.enter_context(os.fdopen(_open(path), "r+"))
    if not locked(stream):
        return False
    _held.add(path.name)
    stack.callback(_held.discard, path.name)
    stream.truncate()
    json.dump({"pid": os.getpid(), "what": what, "since": time.strftime("%H:%M:%S")}, stream)
    stream.flush()
    return True


def _holder(path: Path) -> str:
    """Return who had a lease last, in words."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"{said['what']} (process {said['pid']}, since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "somebody"


def _folder() -> Path:
    """Return the folder that all users of this machine share, made by the first of them.

    Raises:
        ConfigError: what is there is not such a folder.
    """
    path = Path(tempfile.gettempdir()) / FOLDER
    try:
        path.mkdir()
        path.chmod(0o1777)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError(f"{path} is no folder that this account may write", f"remove {path}") from None
    return path


def _open(path: Path) -> int:
    """Return an open file that every user may lock; a link is refused.

    Not created where it is there: in a shared folder the kernel refuses that for another user's file.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        pass
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return _open(path)
    os.fchmod(made, 0o666)
    return made
