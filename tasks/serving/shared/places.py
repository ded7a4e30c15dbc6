"""Places of requests under way, over several gateways: each is held in the store and forgotten with its gateway.

Each gateway has its own queue; within it urgency decides as in door/in_flight.py, between gateways who asks first.
While the store is lost each gateway has its part of the places.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from tasks.core.params.door import DoorParams
from tasks.serving.door.in_flight import Places
from tasks.serving.keys import PRIORITIES, ApiKey
from tasks.serving.shared.store import HELD_S, Store, StoreLostError

#: Another gateway gives a place back without telling: waiters look again that often.
LOOK_S = 0.05
HELD, KEY_FULL, ALL_FULL = 0, 1, 2


class SharedPlaces(Places):
    """The places, in the store.

    Args:
        part: how much of a limit this gateway has while the store is lost.
    """

    def __init__(self, params: DoorParams, store: Store, part: Callable[[int], int]) -> None:
        super().__init__(params)
        self.store, self.part = store, part
        self._ids: defaultdict[str, list[str]] = defaultdict(list)
        self._owed: dict[str, str] = {}
        self._freed = asyncio.Event()
        self._pumping: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> dict[str, str]:
        """The ids of this gateway's places -> the key's name."""
        return {place: name for name, places in self._ids.items() for place in places}

    def let_in(self) -> None:
        """Have the waiters look for a free place now."""
        self._freed.set()

    async def close(self) -> None:
        """Give back what is being given back."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _enter(self, key: ApiKey) -> None:
        """Take a place, now or when there is one; nobody overtakes who waits already."""
        before = PRIORITIES[: PRIORITIES.index(key.priority) + 1]
        if not any(self._queues[priority] for priority in before) and await self._hold(key) == HELD:
            return
        if self._pumping is None or self._pumping.done():
            self._pumping = asyncio.create_task(self._pump())
        await self._wait(key)

    async def _hold(self, key: ApiKey) -> int:
        """Take a place where one is free; count it here too."""
        kept = 0 if key.priority == PRIORITIES[0] else self.params.reserved_for_emergency
        name, place = key.name, secrets.token_hex(8)
        keys = [self.store.key("places"), self.store.key("places", name)]
        asked = [place, self.params.max_in_flight - kept, self.params.max_in_flight_per_key, round(HELD_S * 1000)]
        task = asyncio.create_task(self.store.run("ENTER", keys, asked))
        try:
            outcome = int(await asyncio.shield(task))
        except asyncio.CancelledError:
            self._spawn(self._undone(task, name, place))
            raise
        except StoreLostError:
            outcome = self._by_own_count(key, kept)
        if outcome == HELD:
            # Also one taken by our own count: the next beat after the loss tells the store.
            self._ids[name].append(place)
            self._take(key)
        return outcome

    def _by_own_count(self, key: ApiKey, kept: int) -> int:
        """Tell whether this gateway's part has a place left."""
        if self.in_flight >= max(1, self.part(self.params.max_in_flight) - kept):
            return ALL_FULL
        return KEY_FULL if self._of_key[key.name] >= self.part(self.params.max_in_flight_per_key) else HELD

    def _leave(self, key: ApiKey) -> None:
        """Give a place back, here at once and to the store in a moment: also who is being cancelled gives it back."""
        place = self._ids[key.name].pop()
        if not self._ids[key.name]:
            del self._ids[key.name]
        super()._leave(key)
        self._spawn(self._give_back(key.name, place))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _undone(self, task: "asyncio.Task[Any]", name: str, place: str) -> None:
        """Give back what was taken for a caller who has left meanwhile."""
        with suppress(StoreLostError):
            await task
        await self._give_back(name, place)

    async def _give_back(self, name: str, place: str) -> None:
        """Tell the store; a lost one is told when it is back, where it has not forgotten the place by itself."""
        self._owed[place] = name
        if not self.store.lost:
            await self.give_back_owed()

    async def give_back_owed(self) -> None:
        """Tell the store of all places that it has not been told of."""
        for place, name in list(self._owed.items()):
            keys = (self.store.key("places"), self.store.key("places", name))
            with suppress(StoreLostError):
                await self.store.asked_plainly(partial(_removed, keys=keys, place=place))
                self._owed.pop(place, None)

    async def _pump(self) -> None:
        """Give places to waiters until nobody waits."""
        while True:
            self._freed.clear()
            await self._round()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), LOOK_S)
            if not self.waiting:
                return

    async def _round(self) -> None:
        """Look once for places, for the most urgent first, passing over keys that have all of theirs."""
        full: set[str] = set()
        for queue in self._queues.values():
            for waiter in list(queue):
                if waiter.key.name in full:
                    continue
                outcome = await self._hold(waiter.key)
                if outcome == ALL_FULL:
                    return
                if outcome == KEY_FULL:
                    full.add(waiter.key.name)
                elif waiter in queue and not waiter.place.done():
                    queue.remove(waiter)
                    waiter.place.set_result(None)
                else:
                    # It went away while the store was asked.
                    self._leave(waiter.key)


async def _removed(client, keys, place):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - redis's own
    """Remove a place of both sets."""
    async with client.pipeline(transaction=True) as steps:
        for key in keys:
            steps.zrem(key, place)
        await steps.execute()
