"""Whether memory ran out: the kernel's own count of what it killed for it, and how near the limit a run came."""

from pathlib import Path

from tasks.machine.resources import memory_gib

#: Count of processes the kernel killed for want of memory since it started (Linux 4.13), and a container's own count.
VMSTAT = Path("/proc/vmstat")
CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
#: Less available memory than this share of the whole is near the limit.
NEAR = 0.03


class MemoryWatch:
    """Looks at memory while something runs; asked afterwards why it was killed."""

    def __init__(self) -> None:
        self.kills = kernel_kills()
        self.least = 1.0

    def look(self) -> None:
        """Note how much is available now."""
        total, available = memory_gib()
        self.least = min(self.least, available / total)

    def verdict(self) -> str | None:
        """Return how we know that memory ran out, or None where nothing says so."""
        if kernel_kills() > self.kills:
            return "the kernel killed a process for want of memory"
        if self.least < NEAR:
            return f"at least once only {self.least:.1%} of the memory was available"
        return None


def kernel_kills() -> int:
    """Return how many processes the kernel has killed for want of memory; 0 where it does not say."""
    for path in (CGROUP_EVENTS, VMSTAT):
        if path.is_file():
            counts = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0
