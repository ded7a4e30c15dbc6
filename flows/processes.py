"""Prefect's processes on this machine: which runs have one, and which workers."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

PROC = Path("/proc")
#: What executes a run: an engine, or the supervisor that prepares its folder first.
RUNNERS = ("prefect.engine", "prefect.runner.")
RUN_ID = "PREFECT__FLOW_RUN_ID"
API_URL = "PREFECT_API_URL"


class CannotTellError(Exception):
    """A process may execute a run, and this user may not see which."""


def runs_here() -> set[str]:
    """Return the ids of the flow runs that a process of this machine executes.

    A run's `infrastructure_pid` has no host and may have been given to another process since; the id that a process
    was started with says what it is. Children of a run's process carry the id too and do not count.

    Raises:
        CannotTellError: another user's process executes some run, or this system has no /proc.
    """
    found = set()
    for pid, words in _processes():
        if any(word.startswith(RUNNERS) for word in words[1:3]):
            try:
                found.add(_environment(pid).get(RUN_ID, ""))
            except PermissionError as error:
                raise CannotTellError(f"process {pid} of another user executes a run") from error
            except OSError:
                continue
    return found - {""}


def workers_here(name: str, url: str) -> list[int]:
    """Return the processes of this machine that are, or keep, a worker of this name at this server."""
    found = []
    for pid, words in _processes():
        if "worker" in words and ("--name", name) in pairwise(words):
            try:
                same = _environment(pid).get(API_URL, url).rstrip("/") == url.rstrip("/")
            except PermissionError:
                same = True
            except OSError:
                continue
            if same:
                found.append(pid)
    return sorted(found)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of this machine and their command lines; those that are ending have none.

    Raises:
        CannotTellError: this system has no /proc.
    """
    if not (PROC / "self").exists():
        raise CannotTellError("this system does not show its processes in /proc")
    for name in os.listdir(PROC):
        if name.isdigit():
            try:
                words = (PROC / name / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            yield int(name), [word.decode("utf-8", "replace") for word in words if word]


def _environment(pid: int) -> dict[str, str]:
    """Return the environment a process was started with."""
    rows = (PROC / str(pid) / "environ").read_bytes().decode("utf-8", "replace").split("\0")
    return dict(row.split("=", 1) for row in rows if "=" in row)
