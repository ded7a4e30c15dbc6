"""Stages that need no GPU take turns, of all runs of a checkout: what is more urgent first, then who came first.

Several runs are under way at the same time, so that no card waits for a run to begin; their work on the processor and
in memory is one stage's at a time, as in one run. A turn is a locked file: it ends with its process, however that ends.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.core.exclusive import locked
from tasks.core.progress import duration
from tasks.core.project import Project

FOLDER = "turns"
POLL_S = 0.2
SAY_EVERY_S = 60.0


@contextmanager
def own_turn(
    project: Project, what: str, *, urgent: bool, say: Callable[[str], None], look: Callable[[], object]
) -> Iterator[None]:
    """Wait until no other stage of this checkout's runs works on the processor, and keep others out meanwhile.

    Args:
        project: whose; worktrees share their checkout's state, and so its turns.
        what: the work, for others who wait.
        urgent: of a release: goes before what is not.
        say: gets a line a minute while it waits.
        look: is called at every look; what it raises ends the wait.
    """
    folder, began, told = project.state / FOLDER, time.monotonic(), float("-inf")
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{0 if urgent else 1}-{time.time_ns():020d}-{os.getpid()}-{threading.get_ident()}"
    with ExitStack() as stack:
        # Locked before it has its name: one that nobody holds is taken for a dead process's.
        stream = stack.enter_context((folder / f".{name}").open("w", encoding="utf-8"))
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(what)
        stream.flush()
        place = (folder / f".{name}").rename(folder / name)
        stack.callback(place.unlink, missing_ok=True)
        with (folder / ".at-work").open("a+", encoding="utf-8") as work:
            while not (_first(folder, name) and locked(work)):
                if time.monotonic() - told > SAY_EVERY_S:
                    told = time.monotonic()
                    before, waited = _before(folder, name), duration(told - began)
                    say(f"{what}: waits for its turn, {waited} so far; before it: {before}")
                look()
                time.sleep(POLL_S)
            yield


def _first(folder: Path, name: str) -> bool:
    """Return whether nobody who lives waits before this one; who is at work holds the lock."""
    return not any(_lives(path) for path in _earlier(folder, name))


def _earlier(folder: Path, name: str) -> list[Path]:
    """Return the places before one, the first in front."""
    return [folder / other for other in sorted(os.listdir(folder)) if not other.startswith(".") and other < name]


def _before(folder: Path, name: str) -> str:
    """Return what is done before one, in words."""
    found = [path.read_text(encoding="utf-8") for path in _earlier(folder, name) if path.is_file()]
    return ", ".join(found) or "another stage"


def _lives(place: Path) -> bool:
    """Return whether the process of a place is there; the place of one that is gone is removed."""
    try:
        with place.open("r", encoding="utf-8") as stream:
            if not locked(stream):
                return True
            place.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return False
