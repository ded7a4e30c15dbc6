"""Shadow: requests that the live version has answered are asked of the candidate too, and only the scores are kept."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from tasks.core.params.release import RolloutParams
from tasks.serving.admission import Kind
from tasks.serving.answers import said, spoken
from tasks.serving.exchange import Exchange
from tasks.serving.rollout.watch import Observation
from tasks.serving.slots import Slots

log = logging.getLogger(__name__)

PATHS: dict[Kind, str] = {"chat": "/v1/chat/completions", "completion": "/v1/completions", "responses": "/v1/responses"}
#: What a model server that cannot be reached counts as.
LOST = 503


class Mirror:
    """Asks the candidate what the live version was asked; nobody gets its answers and nobody is charged.

    Args:
        params: which share of the requests, and how many at a time.
        slots: where the candidate is.
        timeout_s: for one answer.
        most_live: requests under way on the live slot from which on nothing is mirrored.
        told: gets both answers of a pair.
    """

    def __init__(
        self,
        params: RolloutParams,
        slots: Slots,
        timeout_s: float,
        most_live: int,
        told: Callable[[list[Observation]], None],
    ) -> None:
        self.params, self.slots, self.timeout_s = params, slots, timeout_s
        self.most_live, self.told = most_live, told
        self.scores: Counter[str] = Counter()
        self._asking: set[asyncio.Task[None]] = set()
        self._dice = random.SystemRandom()

    def offer(self, exchange: Exchange) -> None:
        """Mirror an exchange that has ended, if its turn has come and there is room: callers come first."""
        if exchange.lease.candidate or exchange.status not in (200, LOST):
            return
        if self._dice.random() * 100 >= self.params.shadow_percent:
            return
        live = self.slots.live
        if len(self._asking) >= self.params.shadow_concurrency or (live and live.in_flight > self.most_live):
            self.scores["dropped"] += 1
            return
        seconds = time.perf_counter() - exchange.started
        task = asyncio.create_task(self._pair(exchange, seconds))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _pair(self, exchange: Exchange, seconds: float) -> None:
        """Ask the candidate the same and pass both answers on."""
        with self.slots.lease(mirrored=True) as lease:
            if lease is None:
                return
            started = time.perf_counter()
            status, text = await self._asked(exchange, lease.url, lease.deployment.lineage_id)
            mirrored_s = time.perf_counter() - started
            live = await asyncio.to_thread(exchange.answer_text)
            # Both began for the count when the candidate was asked: they belong to one block, whatever either took.
            self.told([
                Observation(False, lease.began, exchange.status, seconds, False, lambda: live),
                Observation(True, lease.began, status, mirrored_s, False, lambda: text),
            ])  # fmt: skip
            self._score(live, text, exchange.status == status == 200)

    async def _asked(self, exchange: Exchange, url: str, name: str) -> tuple[int, str]:
        """Return status and text of the candidate's answer."""
        payload = {field: value for field, value in exchange.admitted.payload.items()
                   if field not in ("stream", "stream_options")}  # fmt: skip
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        try:
            async with exchange.session.post(
                f"{url}{PATHS[exchange.admitted.kind]}", json={"model": name, **payload}, timeout=timeout
            ) as answer:
                body = await answer.read()
                return answer.status, spoken(said([body])) if answer.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("shadow: the candidate did not answer: %s", error or "timed out")
            return LOST, ""

    def _score(self, live: str, mirrored: str, both: bool) -> None:
        """Count a pair: the same words, and how long either is."""
        self.scores["mirrored"] += 1
        if both:
            self.scores["answered"] += 1
            self.scores["same"] += live.split() == mirrored.split()
            self.scores["live_characters"] += len(live)
            self.scores["candidate_characters"] += len(mirrored)

    def summary(self) -> dict[str, Any]:
        """Return what the pairs have in common, in numbers alone."""
        answered = self.scores["answered"]
        mean = {name: round(self.scores[f"{name}_characters"] / answered, 1) if answered else None
                for name in ("live", "candidate")}  # fmt: skip
        return {"mirrored": self.scores["mirrored"], "dropped": self.scores["dropped"],
                "same_words": round(self.scores["same"] / answered, 4) if answered else None,
                "mean_characters": mean}  # fmt: skip
