"""What each key has used today and this month; kept in a file, so that a restart gives nobody a new budget.

Days and months are UTC. The file is written by a task of its own, about once a second while something changed: a killed
process forgets a second at most, and no request waits for the disk.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.params.door import DoorParams
from tasks.serving.admission import Refusal
from tasks.serving.audit.log import utc_now
from tasks.serving.keys import ApiKey

log = logging.getLogger(__name__)

KEEP_EVERY_S = 1.0


@dataclass
class Used:
    """Tokens of one key's name, in the day and the month they were used in."""

    day: str = ""
    day_tokens: int = 0
    month: str = ""
    month_tokens: int = 0

    def turn(self, now: datetime) -> None:
        """Begin a new day or month where one has begun."""
        day, month = now.date().isoformat(), now.strftime("%Y-%m")
        if day != self.day:
            self.day, self.day_tokens = day, 0
        if month != self.month:
            self.month, self.month_tokens = month, 0

    def add(self, tokens: int) -> None:
        """Count tokens (negative: given back after midnight, too, but never below nothing)."""
        self.day_tokens, self.month_tokens = max(0, self.day_tokens + tokens), max(0, self.month_tokens + tokens)


class Budgets:
    """The tokens of all keys' names.

    Args:
        path: the file.
        params: what everybody may use; a key's own budgets can only be lower. May be replaced at any time.

    Raises:
        DataContractError: the file is damaged; nobody gets a new budget on a guess.
    """

    def __init__(self, path: Path, params: DoorParams, now: Callable[[], datetime] = utc_now) -> None:
        self.path, self.params, self.now = path, params, now
        self._used = _read(path)
        self._changed = False

    def require(self, key: ApiKey) -> None:
        """Refuse a key that has used up its day or month.

        Raises:
            Refusal: 429, with the seconds until there is a new budget.
        """
        used, now = self._of(key), self.now()
        for tokens, most, name in (
            (used.month_tokens, lower(key.tokens_per_month, self.params.tokens_per_month), "month"),
            (used.day_tokens, lower(key.tokens_per_day, self.params.tokens_per_day), "day"),
        ):
            if most is not None and tokens >= most:
                raise used_up(key, tokens, most, name, now)

    def reserve(self, key: ApiKey, tokens: int) -> None:
        """Count what a request may use; `settle` gives back what it did not."""
        self._of(key).add(tokens)
        self._changed = True

    def settle(self, key: ApiKey, reserved: int, used: int) -> None:
        """Replace a reservation by what was used."""
        self.reserve(key, used - reserved)

    def of(self, name: str) -> Used:
        """Return a copy of what a key's name has used, as of now."""
        used = replace(self._used.get(name, Used()))
        used.turn(self.now())
        return used

    def all(self) -> dict[str, Used]:
        """Return a copy of what every name has used, as of now."""
        return {name: self.of(name) for name in self._used}

    def know(self, name: str, used: Used) -> None:
        """Take over what somebody knows better: several gateways count together."""
        if self._used.get(name) != used:
            self._used[name], self._changed = replace(used), True

    async def keep(self) -> None:
        """Keep the file as things are, until cancelled."""
        try:
            while True:
                await asyncio.sleep(KEEP_EVERY_S)
                if self._changed:
                    await asyncio.to_thread(self.write)
        finally:
            if self._changed:
                self.write()

    def write(self) -> None:
        """Replace the file. A disk that will not have it is told of; the counts in memory go on."""
        self._changed = False
        try:
            write_json(self.path, {"used": {name: asdict(used) for name, used in list(self._used.items())}})
        except OSError as error:
            self._changed = True
            log.error("budgets: %s cannot be written: %s", self.path, error)

    def _of(self, key: ApiKey) -> Used:
        """Return what a key's name has used, as of now."""
        used = self._used.setdefault(key.name, Used())
        used.turn(self.now())
        return used


def used_up(key: ApiKey, tokens: int, most: int, which: str, now: datetime) -> Refusal:
    """Return the refusal of a key that has used up its day or month."""
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    next_month = (datetime(now.year, now.month, 1, tzinfo=UTC) + timedelta(days=32)).replace(day=1)
    wait_s = math.ceil(((midnight if which == "day" else next_month) - now).total_seconds())
    message = f"key {key.name} has used {tokens} of its {most} tokens of this {which} (UTC)"
    return Refusal(429, "budget_used_up", message, retry_after_s=wait_s)


def lower(own: int | None, of_all: int | None) -> int | None:
    """Return the lower of two budgets, None where there is none."""
    found = [budget for budget in (own, of_all) if budget is not None]
    return min(found) if found else None


def _read(path: Path) -> dict[str, Used]:
    """Return what the file says."""
    if not path.exists():
        return {}
    try:
        return {name: Used(**value) for name, value in read_json(path)["used"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise DataContractError(
            f"{path} is no file of budgets", "restore it, or move it away: counts begin anew"
        ) from error
