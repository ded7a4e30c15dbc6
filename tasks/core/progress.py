"""Progress of long work as one line every few seconds: how far, how fast, how long still."""

import logging
import time


class Progress:
    """Log `what: done/total unit, rate, time left` at most every `every_s` seconds, and once at the end.

    Args:
        log: where the lines go.
        what: what is being done, e.g. "train".
        total: number of units to do.
        unit: plural noun of the unit, e.g. "steps".
        done: units already done before this start (resumed work); they do not count for the rate.
        every_s: least time between two lines.
    """

    def __init__(
        self, log: logging.Logger, what: str, total: int, unit: str, *, done: int = 0, every_s: float = 5.0
    ) -> None:
        self.log, self.what, self.total, self.unit, self.every_s = log, what, total, unit, every_s
        self.done = self.resumed_at = done
        self.started = self.last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units; log when it is time."""
        self.done += count
        now = time.monotonic()
        if self.done < self.total and now - self.last < self.every_s:
            return
        self.last = now
        elapsed = max(now - self.started, 1e-9)
        rate = (self.done - self.resumed_at) / elapsed
        left = duration((self.total - self.done) / rate) if rate else "unknown time"
        ending = f"done in {duration(elapsed)}" if self.done >= self.total else f"{left} left"
        self.log.info(
            "%s: %d/%d %s, %.2f/s, %s%s",
            self.what,
            self.done,
            self.total,
            self.unit,
            rate,
            ending,
            f", {note}" if note else "",
        )


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
