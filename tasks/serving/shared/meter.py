"""Limits, budgets and places over several gateways; and what holds while the store they share is lost.

While the store is lost:
- Each gateway gives a key its part: the limits, and what was left of its budgets, divided by the gateways that were
  last seen. Together they give no more than the whole. What is used is added to the store when it is back.
- After `limits_lost_grace_s`, and in a gateway that has never reached the store, keys of priority `emergency` alone are
  answered: budgets are somebody's money and can wait, an emergency desk cannot.
A store that comes back empty gets the budgets from what the gateways knew: nobody gets a new budget by its loss.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.settings import GatewayParams
from tasks.serving.admission import unavailable
from tasks.serving.door.budgets import Used, lower, used_up
from tasks.serving.door.meter import LocalMeter, over_rate
from tasks.serving.keys import PRIORITIES, ApiKey
from tasks.serving.shared.places import SharedPlaces
from tasks.serving.shared.store import Store, StoreLostError, beats

log = logging.getLogger(__name__)


class SharedMeter:
    """The count of several gateways.

    Args:
        params: section `serve.gateway`.
        budgets_path: where this gateway keeps what it knows of the budgets, for a start without the store.
        store: where they count together.
    """

    def __init__(self, params: GatewayParams, budgets_path: Path, store: Store) -> None:
        self.params, self.store = params, store
        self.own = LocalMeter(params, budgets_path)
        self.places = SharedPlaces(params.door, store, self._part)
        self._base = self.own.budgets.all()
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def works(self) -> bool:
        """Whether the store answers."""
        return not self.store.lost

    def follow(self, params: GatewayParams) -> None:
        """Go by other limits from the next request on."""
        self.params, self.places.params = params, params.door
        self.own.follow(params)
        self.places.let_in()

    async def request(self, key: ApiKey) -> None:
        """Take one request of the key's minute; 429 where there is none left."""
        try:
            wait_ms = await self.store.run("TAKE", [self.store.key("requests", key.name)], [self._requests(key)])
        except StoreLostError:
            self._require_part(key)
            await self.own.request(self._with_part(key))
            return
        if wait_ms:
            raise over_rate(key, "requests", math.ceil(wait_ms / 1000))

    @asynccontextmanager
    async def place(self, key: ApiKey) -> AsyncIterator[None]:
        """Hold a place; see `Places.place`."""
        async with self.places.place(key):
            yield

    async def reserve(self, key: ApiKey, tokens: int) -> None:
        """Reserve tokens; 429 where the key has not that many left this minute, today or this month."""
        door = self.params.door
        budgets = [lower(key.tokens_per_day, door.tokens_per_day), lower(key.tokens_per_month, door.tokens_per_month)]
        asked = [key.name, tokens, self._tokens(key), *(-1 if most is None else most for most in budgets)]
        task = asyncio.create_task(self.store.run("RESERVE", self._counters(key), asked))
        try:
            outcome, *found = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._undo(done, key, tokens))
            raise
        except StoreLostError:
            self._require_part(key)
            await self.own.reserve(self._with_part(key), tokens)
            return
        if outcome == "minute":
            raise over_rate(key, "tokens", math.ceil(found[0] / 1000))
        if outcome == "ok":
            self._used_by_us(key, tokens)
        else:
            most = budgets[0] if outcome == "day" else budgets[1]
            raise used_up(key, int(found[0]), most or 0, outcome, self.own.budgets.now())

    def settle(self, key: ApiKey, reserved: int, used: int) -> None:
        """Charge what a request has cost instead of what was reserved; also for a caller who is being cancelled."""
        task = asyncio.create_task(self._settled(key, reserved, used))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _undo(self, done: "asyncio.Task[list[Any]]", key: ApiKey, tokens: int) -> None:
        """Give back what was reserved for a caller who left meanwhile."""
        if not done.cancelled() and done.exception() is None and done.result()[0] == "ok":
            self.settle(key, tokens, 0)

    async def keep(self) -> None:
        """Beat, and keep the file of what is known, until cancelled."""
        beating = asyncio.create_task(beats(self._beat, self.store))
        try:
            await self.own.keep()
        finally:
            beating.cancel()
            await asyncio.gather(beating, *self._settling, self.places.close(), return_exceptions=True)
            await self.store.close()

    async def _settled(self, key: ApiKey, reserved: int, used: int) -> None:
        """Charge it in the store, or by our own count until it is back."""
        try:
            await self.store.run("SETTLE", self._counters(key), [key.name, used - reserved, self._tokens(key)])
            self._used_by_us(key, used - reserved)
        except StoreLostError:
            self.own.settle(self._with_part(key), reserved, used)

    def _used_by_us(self, key: ApiKey, tokens: int) -> None:
        """Know at once of what the store was told by us; what others use is known with the next beat."""
        used = self.own.budgets.of(key.name)
        used.add(tokens)
        self.own.budgets.know(key.name, used)
        self._base[key.name] = used

    async def _beat(self) -> None:
        """Tell the store of ours, and take over what it knows."""
        now = self.own.budgets.now()
        was_lost = self.store.lost
        await self.store.beat((now.date().isoformat(), now.strftime("%Y-%m")), self.places.held, self._bring)
        if not was_lost:
            self._know_all()
        await self.places.give_back_owed()

    async def _bring(self, forgotten: bool) -> None:
        """Add to the store what was used without it, and what it has forgotten."""
        known, rows = self.store.known, []
        for name, used in self.own.budgets.all().items():
            base = self._base_of(name)
            least = (base.day_tokens, base.month_tokens) if forgotten else (0, 0)
            more = used.day_tokens - base.day_tokens, used.month_tokens - base.month_tokens
            rows += [name, least[0], more[0], least[1], more[1]]
            known.day[name] = max(known.day.get(name, 0), least[0]) + more[0]
            known.month[name] = max(known.month.get(name, 0), least[1]) + more[1]
        if rows:
            await self.store.bring(known.names, rows)
        if forgotten and rows:
            log.warning("limits: the store knew nothing of what was used; it has it from this gateway")
        self._know_all()

    def _know_all(self) -> None:
        """Take over what the store says of every key: the base of what is left while it is lost."""
        known = self.store.known
        for name in known.day.keys() | known.month.keys():
            day, month = known.day.get(name, 0), known.month.get(name, 0)
            self.own.budgets.know(name, Used(known.names[0], day, known.names[1], month))
        self._base = self.own.budgets.all()

    def _base_of(self, name: str) -> Used:
        """Return what the store said of a key last, as of now."""
        used = replace(self._base.get(name, Used()))
        used.turn(self.own.budgets.now())
        return used

    def _require_part(self, key: ApiKey) -> None:
        """Refuse whom nothing is left for without the store."""
        since = self.store.lost_since
        known = self.store.known.gateways > 0 and since is not None
        if key.priority == PRIORITIES[0] or (known and time.monotonic() - since < self.params.door.limits_lost_grace_s):  # type: ignore[operator]
            return
        raise unavailable("limits_unavailable", "the count of limits is lost; emergency keys alone are answered")

    def _part(self, most: int) -> int:
        """Return this gateway's part of a limit while the store is lost; at least one."""
        return max(1, most // max(1, self.store.known.gateways))

    def _with_part(self, key: ApiKey) -> ApiKey:
        """Return a key with this gateway's part of its limits, and of what was left of its budgets."""
        door, base = self.params.door, self._base_of(key.name)
        day, month = lower(key.tokens_per_day, door.tokens_per_day), lower(key.tokens_per_month, door.tokens_per_month)
        return replace(
            key,
            requests_per_minute=self._part(self._requests(key)),
            tokens_per_minute=self._part(self._tokens(key)),
            tokens_per_day=day and self._left(day, base.day_tokens),
            tokens_per_month=month and self._left(month, base.month_tokens),
        )

    def _left(self, most: int, used: int) -> int:
        """Return up to which count this gateway may go: its part of what was left."""
        return used + max(0, most - used) // max(1, self.store.known.gateways)

    def _requests(self, key: ApiKey) -> int:
        """Return a key's requests a minute."""
        return min(key.requests_per_minute or self.params.requests_per_minute, self.params.requests_per_minute)

    def _tokens(self, key: ApiKey) -> int:
        """Return a key's tokens a minute."""
        return min(key.tokens_per_minute or self.params.tokens_per_minute, self.params.tokens_per_minute)

    def _counters(self, key: ApiKey) -> list[str]:
        """Return the names of a key's tokens of the minute, of all of this day and of this month."""
        now = self.own.budgets.now()
        return [self.store.key("tokens", key.name), self.store.key("day", now.date().isoformat()),
                self.store.key("month", now.strftime("%Y-%m"))]  # fmt: skip
