"""Records of refused requests: one by one for a while, then counted, so that no flood of them fills the disk.

Each key, or address where no key is known, has so many records a minute; the rest of that minute becomes one record of
counts. Keys and addresses beyond a bound are counted together.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tasks.serving.audit.log import AuditLog

WINDOW_S = 60.0
#: Records one by one in a minute, of all together, in units of what one key or address may have.
ALL_TOGETHER = 10
#: Groups that are counted apart in a minute.
MOST_GROUPS = 128
OTHERS = "others"


class Refusals:
    """What is recorded of refusals. All in one event loop.

    Args:
        audit: the log.
        per_minute: records of one key or address in a minute; gives the present setting.
        window_s: what a minute is.
        kinds: of a record, and of the record of counts.
    """

    def __init__(
        self,
        audit: AuditLog,
        per_minute: Callable[[], int],
        window_s: float = WINDOW_S,
        kinds: tuple[str, str] = ("refusal", "refusals"),
    ) -> None:
        self.kind, self.kind_of_counts = kinds
        self.audit, self.per_minute, self.window_s = audit, per_minute, window_s
        self._written: Counter[str] = Counter()
        self._counted: Counter[tuple[str, int, str]] = Counter()
        self._since = ""
        self._end: asyncio.TimerHandle | None = None

    def note(self, who: str, record: dict[str, Any]) -> None:
        """Record what happened, or count it where it happens often.

        Args:
            who: a key's id, or an address.
            record: with `status` and `code`; neither text nor secret.
        """
        if self._end is None:
            self._since = _now()
            self._end = asyncio.get_running_loop().call_later(self.window_s, self.flush)
        most = self.per_minute()
        if self._written[who] < most and self._written.total() < ALL_TOGETHER * most:
            self._written[who] += 1
            self.audit.submit({"kind": self.kind, "time": _now(), **record})
            return
        group = (who, int(record["status"]), str(record["code"]))
        if group not in self._counted and len(self._counted) >= MOST_GROUPS:
            group = (OTHERS, *group[1:]) if len(self._counted) < 2 * MOST_GROUPS else (OTHERS, 0, OTHERS)
        self._counted[group] += 1

    def flush(self) -> None:
        """Record what was counted, and begin a new minute with the next refusal."""
        if self._end:
            self._end.cancel()
        self._end = None
        if self._counted:
            counts = [{"who": who, "status": status, "code": code, "count": count}
                      for (who, status, code), count in self._counted.most_common()]  # fmt: skip
            self.audit.submit({"kind": self.kind_of_counts, "time": _now(), "since": self._since, "counts": counts})
        self._written.clear()
        self._counted.clear()


def _now() -> str:
    """Return the time for a record."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
