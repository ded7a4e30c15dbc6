"""Run a command and see to it that none of its processes outlives the process that asked for it.

Run as a file by what owns the command (a model server, a worker, a training process), with the standard library
alone: `python -I -S keeper.py GRACE_S COMMAND ...`. Its standard input is a pipe held open by the owner: when the owner
dies, however it dies, the pipe closes and the command's process group gets SIGTERM, then SIGKILL. (PR_SET_PDEATHSIG
alone is not enough: it follows the owner's *thread*, and it does not reach the grandchildren vLLM spawns.)
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.2


def held(command: Sequence[str], grace_s: float) -> list[str]:
    """Return the command line that runs `command` under a keeper; its standard input must be a pipe."""
    return [sys.executable, "-I", "-S", __file__, str(grace_s), *command]


def main(grace_s: float, command: list[str]) -> int:
    """Run `command` in its own process group until it ends or the owner goes; return its exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Grandchildren whose parent died become ours, so that none is left unseen.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The keeper ends when the owner says so (closed pipe) or when the command ends, never before the command.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = os.getpid()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        # Should the keeper itself be killed: this process has one thread, so the signal means just that.
        preexec_fn=lambda: _prepare_child(libc, keeper),
    )
    while child.poll() is None and not _owner_gone():
        pass
    _end_group(child.pid, grace_s)
    return child.wait()


def let_go(keeper: "subprocess.Popen[bytes]", wait_s: float) -> None:
    """Have a keeper end its command and wait for it; one that does not end is killed.

    Args:
        keeper: runs what `held` returned, its standard input a pipe.
        wait_s: more than the grace time it was started with.
    """
    if keeper.stdin:
        keeper.stdin.close()
    try:
        keeper.wait(wait_s)
    except subprocess.TimeoutExpired:
        # The command then gets its parent-death signal.
        keeper.kill()
        keeper.wait()


def signal_in(code: int) -> int | None:
    """Return the signal that ended a command, from its keeper's exit code; None where it ended by itself."""
    found = -code if code < 0 else 256 - code
    return found if found in signal.valid_signals() else None


def signal_name(number: int) -> str:
    """Return a signal's name, e.g. SIGKILL; its number where it has none (a real-time one)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def below(pid: int) -> "list[psutil.Process]":
    """Return the processes below one, e.g. below a keeper; none where it is gone."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _prepare_child(libc: ctypes.CDLL, keeper: int) -> None:
    """Give the command normal signals, and SIGTERM when the keeper dies."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != keeper:
        # It died before it could be watched.
        os.kill(os.getpid(), signal.SIGKILL)


def _owner_gone() -> bool:
    """Wait a moment and return whether the owner's end of the pipe is closed."""
    readable, _, _ = select.select([0], [], [], POLL_S)
    return bool(readable) and os.read(0, 1) == b""


def _end_group(group: int, grace_s: float) -> None:
    """End every process of the group: SIGTERM, then after the grace time SIGKILL."""
    _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _reap(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(group, signal.SIGKILL)
    while _reap(group):
        time.sleep(0.05)


def _reap(group: int) -> bool:
    """Collect the dead of the group (its leader excepted) and return whether any process of it is alive."""
    for pid in _members(group):
        if pid != group:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
    return any(alive(pid) for pid in _members(group))


def _members(group: int) -> list[int]:
    """Return the pids of the group, zombies included."""
    found = []
    for name in os.listdir("/proc"):
        fields = _stat(name) if name.isdigit() else None
        if fields and int(fields[2]) == group:
            found.append(int(name))
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    fields = _stat(str(pid))
    return fields is not None and fields[0] not in "ZX"


def _stat(pid: str) -> list[str] | None:
    """Return state, parent, group, ... of a process, or None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return None


def _signal(group: int, number: int) -> None:
    """Send a signal to a group that may be gone already."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
