"""One slot from start to stop: a version comes up and is tested, finishes what it was asked, and ends."""

import asyncio
import logging
import time
from collections.abc import Callable

from tasks.core.errors import TransientError, TunegateError
from tasks.core.progress import duration
from tasks.engine.deployment import Deployment
from tasks.serving.slot import Slot, Smoke, StartServer

log = logging.getLogger(__name__)

DRAIN_POLL_S = 0.02


class SlotLife:
    """How a slot comes up and goes down, whichever is live.

    Args:
        start_server, smoke: how a version is started and what it must answer.
        drain_timeout_s: how long requests may finish on a slot that is left.
    """

    def __init__(self, start_server: StartServer, smoke: Smoke, drain_timeout_s: float) -> None:
        self.start_server, self.smoke, self.drain_timeout_s = start_server, smoke, drain_timeout_s
        self.closing = False

    def _require_open(self) -> None:
        """Refuse to bring anything up while closing."""
        if self.closing:
            raise TransientError("the host is stopping", "tunegate serve, then try again")

    async def _serves(self, slot: Slot, deployment: Deployment) -> bool:
        """Return whether a slot serves a deployment and still passes its smoke test."""
        if slot.server is None or not slot.healthy or slot.asleep or not deployment.serves_as(slot.deployment):
            return False
        try:
            await self.smoke(slot.server.url, deployment)
        except TunegateError as error:
            log.warning("slots: %s is ill and will be replaced: %s", slot.name, error.message)
            return False
        return True

    async def _start(self, slot: Slot, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Bring a version up in a slot that is not live, or leave the slot empty."""
        await self._stop(slot)
        loop = asyncio.get_running_loop()

        def tell(line: str) -> None:
            """Pass a progress line from the waiting thread into the loop."""
            loop.call_soon_threadsafe(on_progress, line)

        on_progress(f"starting version {deployment.version} in slot {slot.name}")
        try:
            slot.server = await asyncio.to_thread(self.start_server, slot.name, deployment, tell)
            slot.deployment = deployment
            self._require_open()
            await asyncio.to_thread(slot.server.wait_ready)
            on_progress(f"smoke test of version {deployment.version}")
            await self.smoke(slot.server.url, deployment)
            self._require_open()
        except BaseException:
            await self._stop(slot)
            raise

    async def _retire(self, slot: Slot, on_progress: Callable[[str], None]) -> None:
        """Let the requests on a slot finish, then stop it."""
        await self._drain(slot, on_progress)
        await self._stop(slot)

    async def _drain(self, slot: Slot, on_progress: Callable[[str], None]) -> None:
        """Let the requests on a slot finish, for so long."""
        deadline = time.monotonic() + self.drain_timeout_s
        if slot.in_flight:
            on_progress(f"draining {slot.in_flight} request(s) on slot {slot.name}")
        while slot.in_flight and slot.healthy and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)
        if slot.in_flight:
            log.warning("slots: %d request(s) on %s cut after %s", slot.in_flight, slot.name,
                        duration(self.drain_timeout_s))  # fmt: skip

    async def _stop(self, slot: Slot) -> None:
        """Stop what runs in a slot."""
        server, slot.server, slot.deployment = slot.server, None, None
        slot.ill = slot.asleep = False
        if server:
            await asyncio.to_thread(server.stop)
