"""How many requests are under way at once, of a key and of all, and who waits for whom.

A request waits for a place before its body is read: what waits costs nothing but its connection. When a place is free
it goes to the most urgent class, first come first served within it, passing over keys that have all of their own
places. A waiter has a deadline, and the queue an end: a waiter of a lower class makes room for one of a higher.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tasks.core.params.door import DoorParams
from tasks.serving.admission import Refusal, unavailable
from tasks.serving.keys import PRIORITIES, ApiKey, Priority


@dataclass(eq=False)
class _Waiter:
    """A request in the queue; `place` is done when it may go on."""

    key: ApiKey
    place: "asyncio.Future[None]"


class Places:
    """The places of requests under way, and the queue for them. All in one event loop.

    Args:
        params: section `serve.gateway.door`; may be replaced at any time.
    """

    def __init__(self, params: DoorParams) -> None:
        self.params = params
        self.in_flight = 0
        self._of_key: Counter[str] = Counter()
        self._queues: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in PRIORITIES}

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(len(queue) for queue in self._queues.values())

    @asynccontextmanager
    async def place(self, key: ApiKey) -> AsyncIterator[None]:
        """Hold a place for the body of the `with`.

        Raises:
            Refusal: 429 where the key has too many requests under way and waiting, 503 where all have.
        """
        await self._enter(key)
        try:
            yield
        finally:
            self._leave(key)

    def _free_for(self, key: ApiKey) -> bool:
        """Return whether a request of a key may go on."""
        kept = 0 if key.priority == PRIORITIES[0] else self.params.reserved_for_emergency
        below_all = self.in_flight < self.params.max_in_flight - kept
        return below_all and self._of_key[key.name] < self.params.max_in_flight_per_key

    def _take(self, key: ApiKey) -> None:
        """Count a request in."""
        self.in_flight += 1
        self._of_key[key.name] += 1

    def _leave(self, key: ApiKey) -> None:
        """Count a request out and let those go on that may now."""
        self.in_flight -= 1
        self._of_key[key.name] -= 1
        if not self._of_key[key.name]:
            del self._of_key[key.name]
        self.let_in()

    def let_in(self) -> None:
        """Give free places to waiters, the most urgent first."""
        for queue in self._queues.values():
            for waiter in list(queue):
                if self.in_flight >= self.params.max_in_flight:
                    return
                if self._free_for(waiter.key):
                    queue.remove(waiter)
                    # Counted here, not when the waiter wakes: nobody may come between.
                    self._take(waiter.key)
                    waiter.place.set_result(None)

    async def _enter(self, key: ApiKey) -> None:
        """Take a place, now or when there is one."""
        if self._free_for(key):
            self._take(key)
            return
        await self._wait(key)

    async def _wait(self, key: ApiKey) -> None:
        """Wait in the queue for a place."""
        self._require_room(key)
        waiter = _Waiter(key, asyncio.get_running_loop().create_future())
        queue = self._queues[key.priority]
        queue.append(waiter)
        try:
            # Shielded: a place that is given at the very end of the wait must not be lost.
            async with asyncio.timeout(self.params.queue_timeout_s):
                await asyncio.shield(waiter.place)
        except TimeoutError:
            if self._given(waiter):
                return
            message = f"no place was free within {self.params.queue_timeout_s:g} s"
            raise unavailable("busy", message) from None
        except asyncio.CancelledError:
            if self._given(waiter):
                self._leave(key)
            raise
        finally:
            if waiter in queue:
                queue.remove(waiter)

    def _given(self, waiter: _Waiter) -> bool:
        """Return whether a waiter has got its place after all."""
        return waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None

    def _require_room(self, key: ApiKey) -> None:
        """Refuse to wait where the key's part of the queue, or the whole queue, is full."""
        own = sum(waiter.key.name == key.name for queue in self._queues.values() for waiter in queue)
        if own >= self.params.max_queued_per_key:
            at_once = self.params.max_in_flight_per_key
            message = f"key {key.name} has {own} requests waiting; it may have {at_once} under way at once"
            raise Refusal(429, "key_busy", message, retry_after_s=_retry_after_s(self.params))
        if self.waiting >= self.params.max_queued and not self._pushed_out(key.priority):
            raise unavailable("busy", f"{self.waiting} requests wait already")

    def _pushed_out(self, priority: Priority) -> bool:
        """Refuse the latest waiter of the lowest class below `priority`; return whether there was one."""
        for lower in reversed(PRIORITIES[PRIORITIES.index(priority) + 1 :]):
            if self._queues[lower]:
                waiter = self._queues[lower].pop()
                waiter.place.set_exception(unavailable("busy", "more urgent requests came in"))
                return True
        return False


def _retry_after_s(params: DoorParams) -> int:
    """Return when it may be worth asking again."""
    return max(1, round(params.queue_timeout_s / 4))
