"""Places for requests under way: caps, the queue's ends, deadlines, and who goes first."""

import asyncio
from pathlib import Path

import pytest

from tasks.core.settings import load_settings
from tasks.serving.admission import Refusal
from tasks.serving.door.in_flight import Places
from tasks.serving.keys import ApiKey

ROOT = Path(__file__).parents[3]
PARAMS = load_settings(ROOT / "params.yaml").serve.gateway.door.model_copy(
    update={"max_in_flight": 3, "max_in_flight_per_key": 2, "reserved_for_emergency": 1, "max_queued": 3,
            "max_queued_per_key": 2, "queue_timeout_s": 0.2}
)  # fmt: skip


def key(name, priority="interactive"):
    return ApiKey(name, "caller", f"hash of {name}", "", priority=priority)


class Desk:
    """Requests that hold their place until told to end."""

    def __init__(self, **changed):
        self.places = Places(PARAMS.model_copy(update=changed))
        self.order, self.refused = [], []
        self.ends = {}
        self.tasks = []

    async def ask(self, label, asked_by):
        self.ends[label] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._hold(label, asked_by)))
        await asyncio.sleep(0.005)

    async def _hold(self, label, asked_by):
        try:
            async with self.places.place(asked_by):
                self.order.append(label)
                await self.ends[label].wait()
        except Refusal as refusal:
            self.refused.append((label, refusal.status, refusal.code))

    async def end(self, label):
        self.ends[label].set()
        await asyncio.sleep(0.01)

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert (self.places.in_flight, self.places.waiting, dict(self.places._of_key)) == (0, 0, {})


def run(body, **changed):
    async def main():
        desk = Desk(**changed)
        try:
            return await body(desk)
        finally:
            await desk.close()

    return asyncio.run(main())


def test_a_key_has_its_own_places_and_leaves_the_others_theirs():
    async def body(desk):
        for label in ("a1", "a2", "a3"):
            await desk.ask(label, key("a"))
        assert desk.order == ["a1", "a2"]
        assert desk.places.in_flight == 2
        # The third place is kept for emergencies; a key's own places are full anyway.
        await desk.ask("e1", key("e", "emergency"))
        assert desk.order == ["a1", "a2", "e1"]

    run(body)


def test_the_most_urgent_goes_first_and_a_full_key_is_passed_over():
    async def body(desk):
        await desk.ask("a1", key("a"))
        await desk.ask("a2", key("a"))
        await desk.ask("a3", key("a"))
        await desk.ask("b1", key("b", "batch"))
        await desk.ask("c1", key("c"))
        assert desk.order == ["a1", "a2"]
        desk.places.params = desk.places.params.model_copy(update={"reserved_for_emergency": 0})
        desk.places.let_in()
        await asyncio.sleep(0)
        # a has both of its places, so its own waiter is passed over; c is before b, which came earlier.
        assert desk.places.in_flight == 3
        await asyncio.sleep(0.01)
        assert desk.order == ["a1", "a2", "c1"]
        await desk.end("a1")
        assert desk.order[-1] == "a3"
        await desk.end("a2")
        assert desk.order[-1] == "b1"

    run(body, queue_timeout_s=5.0, max_queued=9)


def test_a_waiter_is_refused_at_its_deadline():
    async def body(desk):
        await desk.ask("a1", key("a"))
        await desk.ask("b1", key("b"))
        await desk.ask("c1", key("c"))
        await asyncio.sleep(0.3)
        assert desk.refused == [("c1", 503, "busy")]
        await desk.end("a1")
        await desk.ask("c2", key("c"))
        assert desk.order == ["a1", "b1", "c2"]

    run(body)


def test_the_queue_has_an_end_for_each_key_and_for_all_and_urgent_ones_push_others_out():
    async def body(desk):
        await desk.ask("a1", key("a"))
        await desk.ask("a2", key("a"))
        for label in ("a3", "a4", "a5"):
            await desk.ask(label, key("a"))
        assert desk.refused == [("a5", 429, "key_busy")]
        await desk.ask("b1", key("b", "batch"))
        await desk.ask("c1", key("c", "batch"))
        assert desk.refused[1:] == [("c1", 503, "busy")]
        await desk.ask("d1", key("d"))
        assert desk.refused[2:] == [("b1", 503, "busy")]
        await desk.ask("e1", key("e", "emergency"))
        assert desk.order[-1] == "e1"

    run(body, queue_timeout_s=5.0)


def test_a_caller_who_leaves_the_queue_or_his_place_takes_nothing_with_him():
    async def body(desk):
        await desk.ask("a1", key("a"))
        await desk.ask("a2", key("a"))
        await desk.ask("a3", key("a"))
        desk.tasks[2].cancel()
        await asyncio.sleep(0.01)
        assert desk.places.waiting == 0
        # Given a place and cancelled before it wakes: the place is free again.
        await desk.ask("a4", key("a"))
        desk.ends["a1"].set()
        desk.tasks[0].cancel()
        await asyncio.sleep(0)
        desk.tasks[3].cancel()
        await asyncio.sleep(0.01)
        await desk.end("a2")
        assert desk.places.in_flight == 0

    run(body, queue_timeout_s=5.0)


def test_a_reserve_that_leaves_nobody_a_place_is_refused():
    from pydantic import ValidationError

    from tasks.core.params.door import DoorParams

    with pytest.raises(ValidationError, match="below max_in_flight"):
        DoorParams(**(PARAMS.model_dump() | {"reserved_for_emergency": 3}))
