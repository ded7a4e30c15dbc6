"""Energy of the processors, where the kernel lets it be read (Intel and AMD RAPL counters under powercap).

Source: https://docs.kernel.org/power/powercap/powercap.html (zones `intel-rapl:N`, `energy_uj`, `max_energy_range_uj`).
"""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICROJOULES = 1e6

#: Zone -> (counter, value after which it starts again), both in microjoules.
Counters = dict[str, tuple[int, int]]


def read_counters(folder: Path = POWERCAP) -> Counters | None:
    """Return the counter of each processor package; None where none can be read (virtual machines, no permission).

    Args:
        folder: where the kernel shows its power zones.
    """
    found: Counters = {}
    # Sub-zones (`intel-rapl:0:0`) are part of their package: adding them would count the cores twice.
    for zone in sorted(folder.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") != 1:
            continue
        try:
            counter = int((zone / "energy_uj").read_text(encoding="ascii"))
            found[zone.name] = counter, int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
    return found or None


def joules_between(before: Counters | None, after: Counters | None) -> float | None:
    """Return the joules used between two readings; a counter that started again once is taken into account.

    Args:
        before: reading at the start.
        after: reading at the end, of the same zones.
    """
    if before is None or after is None or set(before) != set(after):
        return None
    used = 0
    for zone, (start, limit) in before.items():
        end = after[zone][0]
        used += end - start if end >= start else end + limit - start
    return used / MICROJOULES
