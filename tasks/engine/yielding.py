"""A server that is being loaded beside one that answers takes the processor last, until it is ready.

Two ways, each used only where it can be taken back: the niceness of every thread, which needs CAP_SYS_NICE or an
RLIMIT_NICE of 20 (systemd: `LimitNICE=0`) to be lowered again; and the niceness of the session's autogroup, which its
owner may always set back to 0 and which alone counts where the kernel groups by session (sched(7): autogroups, outside
of a container or service with a share of its own).
"""

import logging
import os
import resource
import time
from contextlib import suppress
from pathlib import Path

from tasks.core.keeper import below

log = logging.getLogger(__name__)

#: A third of what the one that answers gets where they meet; at 19 a busy machine would never load anything.
NICENESS = 5
_HIGHEST = 19
_CAP_SYS_NICE = 23
#: The kernel takes one change of an autogroup in a tenth of a second from others than root.
_AUTOGROUP_TRIES, _AUTOGROUP_WAIT_S = 5, 0.11
#: A thread may be started by another while they are gone through.
_PASSES = 5


def yield_to_others(pid: int) -> None:
    """Lower the priority of a process that has just been started as the leader of a session."""
    if _may_take_back():
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, min(_own() + NICENESS, _HIGHEST))
    _set_autogroup(pid, NICENESS)


def take_full_share(pid: int) -> None:
    """Give a process, and everything below it, the priority of this one again."""
    _set_autogroup(pid, 0)
    if _may_take_back():
        for _ in range(_PASSES):
            if not sum(
                _raise(thread) for one in (pid, *(found.pid for found in below(pid))) for thread in _threads(one)
            ):
                return


def _own() -> int:
    """Return this process's niceness."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def _may_take_back() -> bool:
    """Tell whether this process may give a thread its own niceness again."""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - _own():
        return True
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    capabilities = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(capabilities, 16) >> _CAP_SYS_NICE & 1)


def _raise(thread: int) -> bool:
    """Give a thread this process's niceness; return whether it had a higher one."""
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) > _own():
            os.setpriority(os.PRIO_PROCESS, thread, _own())
            return True
    return False


def _threads(pid: int) -> list[int]:
    """Return the threads of a process; none where it has ended."""
    with suppress(OSError):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _set_autogroup(pid: int, niceness: int) -> None:
    """Set the niceness of a session's autogroup, where the kernel has such."""
    for _ in range(_AUTOGROUP_TRIES):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")
        except BlockingIOError:
            time.sleep(_AUTOGROUP_WAIT_S)
        except OSError:
            return
        else:
            return
    log.warning("the priority of session %d was not set to %d", pid, niceness)
