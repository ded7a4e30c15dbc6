"""A one-token question to the live engine now and then: an engine that hangs still says that it is healthy.

The host asks, the gateway's readiness and the recovery look at what was found.
"""

import asyncio
import logging
import re
import time

import aiohttp

from tasks.core.progress import duration
from tasks.engine.access import OWN, Access
from tasks.serving.slots import Slots

log = logging.getLogger(__name__)

#: Probes in a row that must find it hanging: one may meet a moment in which the machine does something else.
HANGING_PROBES = 2
#: What vLLM 0.32 counts while it works, prompts included (v1/metrics/loggers.py), and llama.cpp where it was started
#: with --metrics: a busy engine is none that hangs.
_WORK_DONE = re.compile(
    r"^(?:vllm:(?:iteration_tokens_total_sum|generation_tokens_total|prompt_tokens_total)\{[^}]*\}"
    r"|llamacpp:(?:prompt_tokens_total|tokens_predicted_total)) (\S+)$",
    re.MULTILINE,
)
_COUNTERS_TIMEOUT_S = 5.0


class EngineProbe:
    """Knows whether the live engine makes tokens.

    Args:
        slots: where it is served.
        every_s: between two probes.
        deadline_s: how long one token may take; longer where the engine is busy with others.
        access: how it is asked.
    """

    def __init__(self, slots: Slots, every_s: float, deadline_s: float, access: Access = OWN) -> None:
        self.slots, self.every_s, self.deadline_s, self.access = slots, every_s, deadline_s, access
        self._hanging = 0
        self._probed: object = None

    @property
    def works(self) -> bool:
        """Whether the live engine made a token when it was asked last, or has not been asked yet."""
        slot = self.slots.live
        return slot is None or slot.server is not self._probed or self._hanging < HANGING_PROBES

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.every_s if not self._hanging else min(self.every_s, 1.0))

    async def look(self) -> None:
        """Probe once. A server that is gone or was replaced meanwhile is not this probe's business."""
        slot = self.slots.live
        if slot is None or slot.server is None or slot.deployment is None or not slot.healthy:
            return
        server = slot.server
        if server is not self._probed:
            self._hanging, self._probed = 0, server
        hangs = await self._hangs(server.url, slot.deployment.lineage_id)
        if slot.server is server and hangs is not None:
            self._hanging = self._hanging + 1 if hangs else 0

    async def _hangs(self, url: str, name: str) -> bool | None:
        """Return whether the engine hangs; None where nobody answers at all, which others notice."""
        started = time.monotonic()
        try:
            async with self.access.session() as session:
                before = await _work_done(session, url)
                if await self._answers(session, url, name):
                    return False
                if await _work_done(session, url) > before:
                    return False
        except aiohttp.ClientConnectionError:
            return None
        log.warning("probe: %s has made no token in %s", name, duration(time.monotonic() - started))
        return True

    async def _answers(self, session: aiohttp.ClientSession, url: str, name: str) -> bool:
        """Return whether one token came within the deadline."""
        question = {"model": name, "prompt": "1", "max_tokens": 1, "temperature": 0}
        timeout = aiohttp.ClientTimeout(total=self.deadline_s)
        try:
            async with session.post(f"{url}/v1/completions", json=question, timeout=timeout) as answer:
                return answer.status == 200
        except TimeoutError:
            return False


async def _work_done(session: aiohttp.ClientSession, url: str) -> float:
    """Return what an engine has counted so far; 0 where it does not say."""
    try:
        async with session.get(f"{url}/metrics", timeout=aiohttp.ClientTimeout(total=_COUNTERS_TIMEOUT_S)) as answer:
            return sum(float(count) for count in _WORK_DONE.findall(await answer.text()))
    except TimeoutError:
        return 0.0
