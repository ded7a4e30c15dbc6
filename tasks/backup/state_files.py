"""Which files of the local state are records: everything, but for what is made again and for keys that sign."""

import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tasks.core.errors import TransientError
from tasks.core.project import Project
from tasks.serving.audit.chain import HEAD, whole_lines
from tasks.serving.audit.room import RESERVE
from tasks.serving.paths import audit_folder, audit_outbox, audit_seen

#: Caches, copies of the code, a DVC remote, half-done work, logs of processes, what only a running process needs;
#: databases and files of versions are parts of their own. All else is a record: what a later release adds is in the
#: backup without being named here.
LEFT_OUT = (
    "prefect/*", "mlflow.db*", "mlflow-artifacts/*", "kept/*", "dvc-remote/*", "before-restore-*/*",
    "worktrees/*", "sweeps/*/trials/*", "sweeps/*/snapshot/*", "models/*", "datasets/*", "scratch/*", "bakeoff/*",
    "live/*", "logs/*", "failed/*", "serving/models/*",
    "*.log", "*.lock", "*.sock", "*.partial", "serving/host.json", f"audit/{RESERVE}",
)  # fmt: skip
SECRET_NAMES = ("*.pem", "*.key")
SECRET_WORDS = b"PRIVATE KEY-----"
#: No key is longer.
KEY_BYTES = 1 << 16


def records(project: Project) -> list[str]:
    """Return the files that are kept, relative to the state folder, in the order in which they are copied.

    What says how far a log had come stands before the log: so the copy of the log is never the shorter one.
    """
    found = (path for path in sorted(project.state.rglob("*")) if path.is_file() and not path.is_symlink())
    names = [name for path in found if not left_out(name := path.relative_to(project.state).as_posix())]
    first = {audit_seen(project), project.state / "serving" / "history_seen.json", audit_folder(project) / HEAD}
    return sorted(names, key=lambda name: project.state / name not in first)


def left_out(name: str) -> bool:
    """Return whether a file is made again, or belongs to another part."""
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def is_secret(path: Path) -> bool:
    """Return whether who reads a file can sign, or make digests of texts, in this project's name."""
    if any(fnmatch(path.name, pattern) for pattern in SECRET_NAMES):
        return True
    return path.stat().st_size <= KEY_BYTES and SECRET_WORDS in path.read_bytes()


def copy_records(project: Project, target: Path, names: list[str]) -> None:
    """Copy files that others may be writing.

    Raises:
        TransientError: one is gone since it was listed.
    """
    for name in names:
        source, copy = project.state / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy_one(project, source, copy)
        except FileNotFoundError as error:
            # What other processes left for the log is taken into it, and goes.
            if source.parent != audit_outbox(project):
                raise TransientError(f"{source} went while it was copied", "the same command again") from error


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder of files that are written once; of links, what they lead to."""
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:
        raise TransientError(f"{source} changed while it was copied: {error}", "the same command again") from error


def all_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in order."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _copy_one(project: Project, source: Path, copy: Path) -> None:
    """Copy a file; of a day's log, the whole lines."""
    if source.parent == audit_folder(project) and source.suffix == ".jsonl":
        with copy.open("wb") as stream:
            stream.writelines(line + b"\n" for _, line in whole_lines(source))
    else:
        shutil.copyfile(source, copy)
