"""A folder's DVC, opened with its lock held; what its dvc.lock says, and what is entered into it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from threading import Lock
from typing import Any

import yaml

from tasks.core.errors import TransientError
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.stages.dvc_lock import holder_of

LOCK_FILE = "dvc.lock"
#: How long a transfer waits to begin for another DVC command of the same folder.
LOCK_WAIT_S = 1800.0
#: Of this process: the directory that it is in is all threads', and two stages of a run are handed over in two.
_one_thread = Lock()


@contextmanager
def opened(project: Project) -> Iterator[Any]:
    """Open a folder's DVC, with its lock held.

    Raises:
        TransientError: another DVC command holds the lock for longer than half an hour.
    """
    from dvc.repo import Repo

    # From within: DVC 3.67 looks a path up in the dvc.yaml of the directory that the process is in.
    with _one_thread, chdir(project.root), Repo(str(project.root)) as repo, ExitStack() as held:
        _take_lock(repo, project, held)
        yield repo


def _take_lock(repo: Any, project: Project, held: ExitStack) -> None:
    """Take DVC's lock until a stack is left."""
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            held.enter_context(lock_repo(repo))
            return
        except LockError as error:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"DVC's lock on {project.root} is held by {holder_of(project)}; waited {duration(LOCK_WAIT_S)}",
                    "let it end, or end it; then run the same command again",
                ) from error


def read_lock(project: Project) -> dict[str, Any]:
    """Return what dvc.lock says of each stage; nothing where there is none."""
    path = project.root / LOCK_FILE
    if not path.is_file():
        return {}
    return dict((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages") or {})


def write_lock(project: Project, entries: dict[str, Any]) -> None:
    """Put entries into dvc.lock as DVC writes them (None: take one out); others stay. DVC's lock must be held."""
    from dvc.utils.serialize import modify_yaml

    known = read_lock(project)
    if all(known.get(name) == entry for name, entry in entries.items()):
        return
    with modify_yaml(str(project.root / LOCK_FILE)) as data:
        data.setdefault("schema", "2.0")
        stages = data.setdefault("stages", {})
        for name, entry in entries.items():
            stages.pop(name, None) if entry is None else stages.update({name: entry})
