"""Limits, budgets and places over two gateways with one real Redis, and what holds without it."""

import asyncio
import contextlib
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import load_settings
from tasks.serving.admission import Refusal
from tasks.serving.keys import ApiKey
from tasks.serving.shared import store as shared_store
from tasks.serving.shared.meter import SharedMeter
from tasks.serving.shared.store import Store as SharedStore
from tests.stores import Store, redis_server

ROOT = Path(__file__).parents[3]
GATEWAY = load_settings(ROOT / "params.yaml").serve.gateway
KEY = ApiKey("ward-7", "caller", "x" * 64, "", requests_per_minute=10, tokens_per_minute=1000, tokens_per_day=900)
URGENT = replace(KEY, name="emergency-desk", priority="emergency")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return redis_server(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def store(tmp_path, program):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Store(tmp_path, port, *program)
    found.start()
    yield found
    found.kill()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shared_store, "BEAT_S", 0.05)
    monkeypatch.setattr(shared_store, "TRY_EVERY_S", 0.05)
    # A busy machine is no lost store.
    monkeypatch.setattr(shared_store, "TIMEOUT_S", 10.0)


@contextlib.asynccontextmanager
async def gateway(store: Store, folder: Path, *, reached: bool = True, **door: object):
    """One gateway's count; `folder` is where it keeps its budgets."""
    folder.mkdir(exist_ok=True)
    params = GATEWAY.model_copy(update={"door": GATEWAY.door.model_copy(update=door)})
    meter = SharedMeter(params, folder / "budgets.json", SharedStore(store.url, "model", folder.name))
    keeping = asyncio.create_task(meter.keep())
    try:
        if reached:
            await eventually(lambda: meter.works)
        yield meter
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@contextlib.asynccontextmanager
async def two(store: Store, tmp_path: Path, **door: object):
    async with gateway(store, tmp_path / "a", **door) as one, gateway(store, tmp_path / "b", **door) as other:
        await eventually(lambda: one.store.known.gateways == other.store.known.gateways == 2)
        yield one, other


async def eventually(condition, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def taken(*meters: SharedMeter, key: ApiKey = KEY, most: int = 60) -> int:
    """How many requests all of them let a key make in turn."""
    count = 0
    for number in range(most):
        with contextlib.suppress(Refusal):
            await meters[number % len(meters)].request(key)
            count += 1
    return count


async def code(asked) -> str:
    try:
        await asked
    except Refusal as refusal:
        return f"{refusal.status} {refusal.code}"
    return "ok"


def used(store: Store, key: ApiKey = KEY) -> int:
    day = datetime.now(UTC).date().isoformat()
    return int(store.client().hget(f"tunegate:{{model}}:day:{day}", key.name) or 0)


class TestTogether:
    def test_a_minute_is_shared(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path) as (one, other):
                # A request more may flow in while sixty are asked.
                assert await taken(one, other) in (10, 11)
                with pytest.raises(Refusal, match="requests a minute") as caught:
                    await one.request(KEY)
                assert 1 <= caught.value.retry_after_s <= 6

        asyncio.run(main())

    def test_tokens_and_budgets_are_shared_and_given_back(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path) as (one, other):
                await one.reserve(KEY, 600)
                assert await code(other.reserve(KEY, 600)) == "429 rate_limited"
                one.settle(KEY, 600, 100)
                await eventually(lambda: used(store) == 100)
                await other.reserve(KEY, 800)
                assert await code(one.reserve(KEY, 1)) == "429 budget_used_up"
                other.settle(KEY, 800, 0)
                await eventually(lambda: used(store) == 100)
                assert await code(one.reserve(KEY, 1)) == "ok"

        asyncio.run(main())

    def test_a_budget_outlives_one_gateway_and_both(self, store, tmp_path):
        async def main():
            async with gateway(store, tmp_path / "b") as other:
                async with gateway(store, tmp_path / "a") as one:
                    await one.reserve(KEY, 900)
                async with gateway(store, tmp_path / "a") as one:
                    assert await code(one.reserve(KEY, 1)) == "429 budget_used_up"
                assert await code(other.reserve(KEY, 1)) == "429 budget_used_up"
            async with two(store, tmp_path) as (one, other):
                assert [await code(each.reserve(KEY, 1)) for each in (one, other)] == ["429 budget_used_up"] * 2
                assert used(store) == 900

        asyncio.run(main())

    def test_places_are_shared_and_a_waiter_gets_one_that_another_gateway_gives_back(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path, max_in_flight_per_key=2, queue_timeout_s=2.0) as (one, other):
                async with one.place(KEY):
                    async with other.place(KEY):
                        waiting = asyncio.create_task(hold(other))
                        await asyncio.sleep(0.15)
                        assert not waiting.done()
                        assert await code(held(one, key=replace(KEY, name="another"))) == "ok"
                    await eventually(waiting.done)
                assert not other.places.held

        asyncio.run(main())

    def test_the_emergency_desk_goes_first_and_has_places_of_its_own(self, store, tmp_path):
        async def main():
            caps = {"max_in_flight": 2, "max_in_flight_per_key": 2, "reserved_for_emergency": 1, "queue_timeout_s": 2.0}
            async with two(store, tmp_path, **caps) as (one, other):
                order = []
                async with one.place(KEY):
                    waiting = [asyncio.create_task(hold(other, key, order)) for key in
                               (KEY, replace(KEY, name="batch", priority="batch"))]  # fmt: skip
                    await asyncio.sleep(0.1)
                    await hold(other, URGENT, order)
                    assert order == ["emergency-desk"]
                await asyncio.gather(*waiting)
                assert order == ["emergency-desk", "ward-7", "batch"]

        asyncio.run(main())

    def test_places_of_a_killed_gateway_are_free_after_a_while(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr(shared_store, "HELD_S", 0.4)
        monkeypatch.setattr("tasks.serving.shared.places.HELD_S", 0.4)

        async def main():
            async with gateway(store, tmp_path / "b", max_in_flight_per_key=1, queue_timeout_s=2.0) as other:
                async with gateway(store, tmp_path / "a", max_in_flight_per_key=1) as dead:
                    assert await dead.places._hold(KEY) == 0
                    # Held for longer than a beat says, as long as somebody beats.
                    await asyncio.sleep(0.6)
                    assert await other.places._hold(KEY) == 1
                # Its end is not told: as with kill -9.
                assert store.client().zcard("tunegate:{model}:places:ward-7") == 1
                await hold(other)

        asyncio.run(main())


class TestLost:
    def test_each_has_its_part_and_what_was_used_is_told_when_it_is_back(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path) as (one, other):
                await one.reserve(KEY, 500)
                await eventually(lambda: other.own.budgets.of(KEY.name).day_tokens == 500)
                store.kill()
                await code(one.request(KEY))
                assert not one.works
                # Five each of ten, and what the request that found out took.
                assert await taken(one, other) in (9, 10)
                # 400 of 900 are left, 200 for each.
                assert await code(one.reserve(KEY, 200)) == "ok"
                assert await code(one.reserve(KEY, 1)) == "429 budget_used_up"
                assert await code(other.reserve(KEY, 150)) == "ok"
                store.start()
                await eventually(lambda: one.works and other.works)
                assert used(store) == 850

        asyncio.run(main())

    def test_a_store_that_comes_back_empty_gives_nobody_a_new_budget(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path) as (one, other):
                await one.reserve(KEY, 900)
                await eventually(lambda: other.own.budgets.of(KEY.name).day_tokens == 900)
                store.kill()
                await code(one.request(KEY))
                await code(other.request(KEY))
                store.empty()
                store.start()
                await eventually(lambda: one.works and other.works)
                assert used(store) == 900
                assert await code(other.reserve(KEY, 1)) == "429 budget_used_up"
                # And where it is emptied under their hands.
                store.client().flushall()
                await eventually(lambda: used(store) == 900)

        asyncio.run(main())

    def test_after_a_while_the_emergency_desk_alone_is_answered(self, store, tmp_path):
        async def main():
            async with gateway(store, tmp_path / "a", limits_lost_grace_s=0.3) as one:
                store.kill()
                assert await code(one.request(KEY)) == "ok"
                await asyncio.sleep(0.4)
                assert await code(one.request(KEY)) == "503 limits_unavailable"
                assert await code(one.request(URGENT)) == "ok"

        asyncio.run(main())

    def test_a_gateway_that_starts_without_it_answers_the_emergency_desk_alone(self, store, tmp_path):
        async def main():
            store.kill()
            async with gateway(store, tmp_path / "a", reached=False) as one:
                assert not one.works
                assert await code(one.request(KEY)) == "503 limits_unavailable"
                assert await code(one.request(URGENT)) == "ok"
                await hold(one, URGENT)

        asyncio.run(main())

    def test_places_are_divided_and_told_when_it_is_back(self, store, tmp_path):
        async def main():
            async with two(store, tmp_path, max_in_flight_per_key=4, queue_timeout_s=0.2) as (one, other):
                store.kill()
                async with one.place(KEY), one.place(KEY):
                    assert await code(held(one)) == "503 busy"
                    async with other.place(KEY), other.place(KEY):
                        store.start()
                        await eventually(lambda: store.client().zcard("tunegate:{model}:places:ward-7") == 4)
                await eventually(lambda: store.client().zcard("tunegate:{model}:places:ward-7") == 0)

        asyncio.run(main())


class TestAddress:
    def test_it_is_no_store(self):
        with pytest.raises(ConfigError) as caught:
            SharedStore("http://:secret@host", "model", "a")
        assert "secret" not in str(caught.value)


async def hold(meter: SharedMeter, key: ApiKey = KEY, order: list[str] | None = None) -> None:
    async with meter.place(key):
        if order is not None:
            order.append(key.name)
        await asyncio.sleep(0.02)


async def held(meter: SharedMeter, key: ApiKey = KEY) -> None:
    await hold(meter, key)


def test_callers_who_leave_lose_no_place_and_no_store(store, tmp_path):
    async def main():
        async with gateway(store, tmp_path / "a", max_in_flight_per_key=2) as one:
            for number in range(150):
                task = asyncio.create_task([one.request, hold_by(one), reserved_by(one)][number % 3](URGENT))
                for _ in range(number % 9):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert one.works
            await eventually(lambda: not store.client().exists("tunegate:{model}:places:emergency-desk"))
            await eventually(lambda: used(store, URGENT) == 0)

    asyncio.run(main())


def hold_by(meter: SharedMeter):
    return lambda key: hold(meter, key)


def reserved_by(meter: SharedMeter):
    async def reserved(key):
        await meter.reserve(key, 7)
        meter.settle(key, 7, 0)

    return reserved
