"""Two slots, blue and green: one is live, a new version starts in the other, and traffic moves at once or by share.

A candidate is the version in the slot that is not live, while a rollout gives it a share of the requests.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tasks.core.errors import ConfigError, TransientError, TunegateError
from tasks.core.progress import duration
from tasks.engine.deployment import Deployment
from tasks.serving.slot import Lease, Share, Slot, Smoke, StartServer

log = logging.getLogger(__name__)

DRAIN_POLL_S = 0.02


class Slots:
    """The two slots and which of them is live. All methods belong to one event loop.

    Args:
        names: the slots.
        start_server, smoke: how a version is started and what it must answer.
        drain_timeout_s: how long requests may finish on the old version after a switch.
        soak_s: how long the old version's server is kept warm after a switch, so that going back starts nothing.
        hold_s: None where two versions run side by side. Else only one fits: a switch stops the old one first, and
            requests wait so long for the new one; nothing is kept warm.
        on_switch: told which version has taken over traffic, at the moment it has.
    """

    def __init__(
        self,
        names: list[str],
        start_server: StartServer,
        smoke: Smoke,
        drain_timeout_s: float,
        *,
        soak_s: float = 0.0,
        hold_s: float | None = None,
        on_switch: Callable[[Deployment], None] = lambda deployment: None,
    ) -> None:
        self.slots = [Slot(name) for name in names]
        self.start_server, self.smoke, self.drain_timeout_s = start_server, smoke, drain_timeout_s
        self.soak_s, self.hold_s, self.on_switch = soak_s, hold_s, on_switch
        self.live: Slot | None = None
        self.candidate: Slot | None = None
        self.share = Share("", 0.0)
        self.leases: set[Lease] = set()
        self.closing = False
        self.starting: Deployment | None = None
        self._changing = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._soaking: asyncio.Task[None] | None = None
        self._retiring: asyncio.Task[None] | None = None

    @property
    def changing(self) -> bool:
        """Whether a deployment is under way."""
        return self._changing.locked()

    @property
    def holding(self) -> bool:
        """Whether requests wait for a version that takes the old one's place."""
        return not self._open.is_set()

    async def opened(self) -> None:
        """Wait while requests are held, at most `hold_s`; what is asked after that finds nothing live."""
        if self.holding:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._open.wait(), self.hold_s)

    @property
    def trying(self) -> bool:
        """Whether there is a candidate whose server runs."""
        return self.candidate is not None and self.candidate.healthy

    @contextmanager
    def lease(self, unit: str | None = None, *, mirrored: bool = False) -> Iterator[Lease | None]:
        """Hold the slot for one request; None where nothing can be asked.

        Args:
            unit: what stays with one version while there is a candidate; None is answered by the live one.
            mirrored: hold the candidate's slot, whatever its share.
        """
        to_candidate = self.trying and (mirrored or (unit is not None and self.share.holds(unit)))
        slot = self.candidate if to_candidate else None if mirrored else self.live
        if (
            self.closing
            or self.holding
            or slot is None
            or slot.server is None
            or slot.deployment is None
            or not slot.healthy
        ):
            yield None
            return
        lease = Lease(slot.name, slot.server.url, slot.deployment, to_candidate)
        slot.in_flight += 1
        self.leases.add(lease)
        try:
            yield lease
        finally:
            slot.in_flight -= 1
            self.leases.discard(lease)

    async def deploy(self, deployment: Deployment, on_progress: Callable[[str], None]) -> Slot:
        """Serve a version: start it in the idle slot, smoke-test it, switch, drain and stop the old one.

        A version that is live and healthy already stays as it is; one that is being brought up already is waited for.
        Cancelled before the switch, it leaves everything as it was; after it, the switch stands.

        Raises:
            TransientError: another deployment is under way, or the server did not come up.
            DataContractError: the model is unsafe or failed its smoke test. In every case the old slot goes on serving.
        """
        self._require_open()
        if self.changing and not deployment.serves_as(self.starting):
            raise TransientError("another deployment is under way", "tunegate status, then try again")
        async with self._changing:
            if self.live and await self._serves(self.live, deployment):
                on_progress(f"version {deployment.version} is live in slot {self.live.name} already")
                self.on_switch(deployment)
                return self.live
            # What has to be served now comes before what is being tried.
            self.candidate = None
            self.starting = deployment
            try:
                if self.hold_s is not None and self.live is not None:
                    return await self._replace(self.live, deployment, on_progress)
                return await self._switch(deployment, on_progress)
            finally:
                self.starting = None

    async def rehearse(self, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Start a version in the idle slot, ask it its smoke prompts, and stop it again; nothing live is touched.

        Raises:
            TransientError: a deployment is under way, or the server did not come up.
            DataContractError: the model is unsafe or failed its smoke test.
        """
        self._require_quiet()
        async with self._changing:
            if self.live and await self._serves(self.live, deployment):
                return
            idle = self._idle()
            if await self._serves(idle, deployment):
                on_progress(f"version {deployment.version} is still warm in slot {idle.name}")
                return
            await self._ready(idle, deployment, on_progress)
            await self._stop(idle)

    async def start_candidate(self, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Have a version up and tested beside the live one; it gets no requests yet.

        Raises:
            TransientError: nothing healthy is live, another change is under way, or it did not come up.
            DataContractError: the model is unsafe or failed its smoke test.
        """
        self._require_quiet()
        async with self._changing:
            if self.live is None or not self.live.healthy:
                raise TransientError("nothing is live to compare a candidate with",
                                     f"tunegate promote {deployment.version} --strategy switch")  # fmt: skip
            self.starting = deployment
            try:
                idle = self._idle()
                await self._ready(idle, deployment, on_progress)
                self.share, self.candidate = Share("", 0.0), idle
            finally:
                self.starting = None

    async def promote_candidate(self, taken: Callable[[], None]) -> bool:
        """Give all requests to the candidate, drain and stop the old version; False where it has gone or is ill.

        Args:
            taken: called at the moment it has taken over, before the old version is drained.
        """
        async with self._changing:
            slot, self.candidate = self.candidate, None
            if slot is None or slot.deployment is None or not slot.healthy or self.closing:
                return False
            old = self._make_live(slot, slot.deployment)
            taken()
            await self._leave(old, log.info)
            return True

    async def drop_candidate(self) -> None:
        """Give all requests to the live version again; the candidate's slot is drained and stopped."""
        slot, self.candidate = self.candidate, None
        if slot is None:
            return
        async with self._changing:
            if slot is not self.live:
                await self._retire(slot, log.info)

    async def close(self) -> None:
        """Take no more requests, let those under way finish on both slots at once, stop the servers."""
        self.closing = True
        self.candidate = None
        self._end_soak()
        await asyncio.gather(*(self._retire(slot, log.info) for slot in self.slots))
        self.live = None
        async with self._changing:
            # A deployment that was under way has stopped its server by now.
            return

    def _require_open(self) -> None:
        """Refuse to bring anything up while closing."""
        if self.closing:
            raise TransientError("the host is stopping", "tunegate serve, then try again")

    def _require_quiet(self) -> None:
        """Refuse to use the idle slot while somebody else does."""
        self._require_open()
        if self.hold_s is not None:
            raise ConfigError("this machine serves one version at a time (serve.swap: hold)",
                              "tunegate promote VERSION --strategy switch, or serve.swap: beside")  # fmt: skip
        if self.candidate:
            raise TransientError("a rollout is under way", "tunegate canary status, then try again")
        if self.changing:
            raise TransientError("a deployment is under way", "tunegate status, then try again")

    def _idle(self) -> Slot:
        """Return the slot that is not live."""
        return next(slot for slot in self.slots if slot is not self.live)

    async def _switch(self, deployment: Deployment, on_progress: Callable[[str], None]) -> Slot:
        """Bring a version up in the idle slot and move traffic to it."""
        idle = self._idle()
        await self._ready(idle, deployment, on_progress)
        old = self._make_live(idle, deployment)
        on_progress(f"version {deployment.version} is live in slot {idle.name}")
        await self._leave(old, on_progress)
        return idle

    async def _replace(self, old: Slot, deployment: Deployment, on_progress: Callable[[str], None]) -> Slot:
        """Serve a version where only one fits: hold requests, stop the old one, start the new one, or the old again."""
        before, idle = old.deployment if old.healthy else None, self._idle()
        on_progress(f"requests are held, at most {duration(self.hold_s or 0.0)} each")
        self._open.clear()
        try:
            await self._retire(old, on_progress)
            try:
                await self._start(idle, deployment, on_progress)
            except BaseException:
                if before and not self.closing:
                    await self._bring_back(old, before)
                raise
            self._make_live(idle, deployment)
        finally:
            self._open.set()
        on_progress(f"version {deployment.version} is live in slot {idle.name}")
        return idle

    async def _bring_back(self, slot: Slot, deployment: Deployment) -> None:
        """Start the old version again, even where the asker leaves; where that fails, recovery goes on trying."""
        log.warning("slots: version %s is brought back", deployment.version)
        self.starting = deployment
        task = asyncio.create_task(self._start(slot, deployment, log.info))
        while not task.done():
            with suppress(asyncio.CancelledError, TunegateError):
                await asyncio.shield(task)
        if (error := task.exception()) is not None:
            log.error("slots: version %s did not come back: %s", deployment.version, error)

    def _make_live(self, slot: Slot, deployment: Deployment) -> Slot | None:
        """Move traffic to a slot that is up and tested; return the one it comes from."""
        # From here on it is done: no await between the check and the record of it.
        old, self.live = self.live, slot
        self.on_switch(deployment)
        log.info("slots: %s is live with version %s (%s)", slot.name, deployment.version, deployment.lineage_id)
        return old

    async def _leave(self, old: Slot | None, on_progress: Callable[[str], None]) -> None:
        """Drain and stop the slot that traffic has left, or keep it warm for a while."""
        if old and old.healthy and self.soak_s > 0:
            self._soaking = asyncio.create_task(self._retire_later(old))
        elif old:
            self._retiring = asyncio.create_task(self._retire(old, on_progress))
            await asyncio.shield(self._retiring)

    async def _ready(self, slot: Slot, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Have a version up and tested in a slot that is not live: the warm one of a moment ago, or a new start."""
        self._end_soak()
        if self._retiring:
            # Of a switch whose asker left.
            await asyncio.shield(self._retiring)
        if await self._serves(slot, deployment):
            on_progress(f"version {deployment.version} is still warm in slot {slot.name}")
            return
        if slot.in_flight:
            await self._retire(slot, on_progress)
        await self._start(slot, deployment, on_progress)

    async def _retire_later(self, slot: Slot) -> None:
        """Keep a slot warm for a while after the switch, then stop it."""
        await asyncio.sleep(self.soak_s)
        log.info("slots: %s was warm for %s and is stopped", slot.name, duration(self.soak_s))
        async with self._changing:
            if slot is not self.live:
                await self._retire(slot, log.info)

    def _end_soak(self) -> None:
        """Stop the clock of a warm slot: whoever calls decides what becomes of it."""
        if self._soaking:
            self._soaking.cancel()
            self._soaking = None

    async def _serves(self, slot: Slot, deployment: Deployment) -> bool:
        """Return whether a slot serves a deployment and still passes its smoke test."""
        if slot.server is None or not slot.healthy or not deployment.serves_as(slot.deployment):
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
        deadline = time.monotonic() + self.drain_timeout_s
        if slot.in_flight:
            on_progress(f"draining {slot.in_flight} request(s) on slot {slot.name}")
        while slot.in_flight and slot.healthy and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)
        if slot.in_flight:
            log.warning("slots: %d request(s) on %s cut after %s", slot.in_flight, slot.name,
                        duration(self.drain_timeout_s))  # fmt: skip
        await self._stop(slot)

    async def _stop(self, slot: Slot) -> None:
        """Stop what runs in a slot."""
        server, slot.server, slot.deployment, slot.ill = slot.server, None, None, False
        if server:
            await asyncio.to_thread(server.stop)
