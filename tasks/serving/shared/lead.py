"""What is live, over several gateways: one leads, the others follow within seconds and tell it what they saw.

The leader is the host that `tunegate promote`, `rollback` and `canary` reach: it tests, judges and records. A follower
finds and tests a version by itself before it gives it traffic. A candidate's share is a lease: where the leader is gone
for `LEASE_S` nobody judges it any more, and every follower gives all of its requests to the live version.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable
from typing import Any

from tasks.core.errors import TunegateError
from tasks.engine.deployment import Deployment
from tasks.serving.exchange import Exchange
from tasks.serving.rollout.rollout import Rollouts
from tasks.serving.rollout.watch import Observation
from tasks.serving.shared.store import Store, StoreLostError
from tasks.serving.slot import Share
from tasks.serving.slots import Slots

log = logging.getLogger(__name__)

LOOK_S = 0.5
LEASE_S = 15.0
#: After a version could not be followed: the next try.
AGAIN_S = 5.0
#: Observations that wait for the leader; more are let go, the oldest first.
MOST_WAITING = 10_000
AT_ONCE = 500


class Leader:
    """Tells followers what is live and which share a candidate has, and takes in what they saw of both.

    Args:
        store: where it is told.
    """

    def __init__(self, store: Store, slots: Slots, rollouts: Rollouts) -> None:
        self.store, self.slots, self.rollouts = store, slots, rollouts

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await _tried(self.look(), self.store)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Tell what is so now.

        Raises:
            StoreLostError: the store does not answer.
        """
        live, trial = self.slots.live, self._trial()
        if live and live.deployment:
            row = json.dumps(live.deployment.row())
            await self.store.asked_plainly(lambda client: client.set(self.store.key("live"), row))
        if trial is None:
            await self.store.asked_plainly(lambda client: client.delete(self.store.key("trial")))
            return
        text = json.dumps(trial)
        await self.store.asked_plainly(
            lambda client: client.set(self.store.key("trial"), text, px=round(LEASE_S * 1000))
        )
        await self._take_in(trial["id"])

    def _trial(self) -> dict[str, Any] | None:
        """Return the candidate and its share, None where there is none; a shadow is the leader's own."""
        current, slot = self.rollouts.current, self.slots.candidate
        if not (current and current.running and slot and slot.deployment) or current.mirror:
            return None
        return {"id": current.state["id"], "percent": self.slots.share.percent, "candidate": slot.deployment.row()}

    async def _take_in(self, trial: str) -> None:
        """Take in what followers saw."""
        seen = await self.store.asked_plainly(lambda client: client.lpop(self.store.key("seen", trial), AT_ONCE))
        if self.rollouts.current and self.rollouts.current.running:
            now = time.monotonic()
            self.rollouts.current.fresh += [_observation(json.loads(row), now) for row in seen or ()]


class Follower:
    """Serves what the leader tells.

    Args:
        store: where it is told.
    """

    def __init__(self, store: Store, slots: Slots) -> None:
        self.store, self.slots = store, slots
        self.trial = ""
        self._seen: asyncio.Queue[Observation] = asyncio.Queue(MOST_WAITING)
        self._told = ""
        self._not_before = 0.0

    async def run(self) -> None:
        """Follow until cancelled."""
        telling = asyncio.create_task(self._tell())
        try:
            while True:
                await _tried(self.look(), self.store)
                await asyncio.sleep(LOOK_S)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def look(self) -> None:
        """Do what the leader tells now; a version that cannot be followed is tried again, and what serves goes on.

        Raises:
            StoreLostError: the store does not answer; what is served stays, a candidate is let go.
        """
        try:
            keys = [self.store.key("live"), self.store.key("trial")]
            live, trial = await self.store.asked_plainly(lambda client: client.mget(keys))
        except StoreLostError:
            await self._follow_trial(None)
            raise
        if time.monotonic() < self._not_before or self.slots.changing or self.slots.closing:
            return
        try:
            if live:
                await self._follow_live(Deployment.of_row(json.loads(live)))
            await self._follow_trial(json.loads(trial) if trial else None)
            self._told = ""
        except TunegateError as error:
            self._not_before = time.monotonic() + AGAIN_S
            if error.message != self._told:
                log.error("follow: %s", error)
            self._told = error.message

    def watched(self, exchange: Exchange) -> None:
        """Keep what was seen of an exchange, for the leader; no await, and no work that a caller would wait for."""
        if not self.trial or self._seen.full():
            return
        seconds = exchange.first_s if exchange.first_s is not None else time.perf_counter() - exchange.started
        lease = exchange.lease
        self._seen.put_nowait(Observation(lease.candidate, lease.began, exchange.status, seconds,
                                          exchange.admitted.stream, exchange.answer_text))  # fmt: skip

    async def _follow_live(self, wanted: Deployment) -> None:
        """Have the leader's version live."""
        slot, candidate = self.slots.live, self.slots.candidate
        if slot and slot.healthy and wanted.serves_as(slot.deployment):
            return
        if candidate and wanted.serves_as(candidate.deployment) and self.slots.trying:
            self.trial = ""
            if await self.slots.promote_candidate(lambda: None):
                return
        await self.slots.deploy(wanted, lambda line: log.info("follow: %s", line))

    async def _follow_trial(self, trial: dict[str, Any] | None) -> None:
        """Have the leader's candidate, with its share; or none."""
        if trial is None:
            self.trial = ""
            await self.slots.drop_candidate()
            return
        wanted = Deployment.of_row(trial["candidate"])
        candidate = self.slots.candidate
        if not (candidate and self.slots.trying and wanted.serves_as(candidate.deployment)):
            await self.slots.drop_candidate()
            await self.slots.start_candidate(wanted, lambda line: log.info("follow: %s", line))
        # The same share of the same callers as everywhere: it is told by the trial's id.
        self.trial, self.slots.share = trial["id"], Share(trial["id"], trial["percent"])

    async def _tell(self) -> None:
        """Tell the leader what was seen: how it went, never what was said."""
        while True:
            seen = await self._seen.get()
            await asyncio.to_thread(seen.read)
            if self.trial and not self.store.lost:
                await _tried(self._push(json.dumps(_row(seen))), self.store)

    async def _push(self, row: str) -> None:
        """Put one observation where the leader takes it."""
        key = self.store.key("seen", self.trial)

        async def pushed(client: Any) -> None:
            """All in one step."""
            async with client.pipeline(transaction=True) as steps:
                steps.rpush(key, row)
                steps.ltrim(key, -MOST_WAITING, -1)
                steps.expire(key, 3600)
                await steps.execute()

        await self.store.asked_plainly(pushed)


async def _tried(work: Awaitable[None], store: Store) -> None:
    """Do something with the store, if it is there."""
    try:
        await work
    except StoreLostError:
        log.debug("follow: the store does not answer (%s)", store.replica)


def _row(seen: Observation) -> dict[str, Any]:
    """Return an observation as it is told: when it began as seconds ago, clocks differ."""
    return {"candidate": seen.candidate, "ago_s": time.monotonic() - seen.began, "status": seen.status,
            "seconds": seen.seconds, "stream": seen.stream, "refusal": seen.refusal,
            "unknown": seen.unknown}  # fmt: skip


def _observation(row: dict[str, Any], now: float) -> Observation:
    """Return an observation that was told."""
    return Observation(row["candidate"], now - row["ago_s"], row["status"], row["seconds"], row["stream"], None,
                       row["refusal"], row["unknown"])  # fmt: skip
