"""Two slots, blue and green: one is live, a new version starts in the other, and traffic moves at once or by share.

A candidate is the version in the slot that is not live, while a rollout gives it a share of the requests.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tasks.core.errors import ConfigError, TransientError, TunegateError
from tasks.core.progress import duration
from tasks.engine.deployment import Deployment
from tasks.serving.slot import Lease, Share, Sleeper, Slot, Smoke, StartServer, to_its_end, wake
from tasks.serving.slot_life import SlotLife

log = logging.getLogger(__name__)

LOST_POLL_S = 0.05
#: How long a server that has broken off may take to be seen to have ended: its keeper ends what it started first.
ENDING_S = 15.0


class Slots(SlotLife):
    """The two slots and which of them is live. All methods belong to one event loop.

    Args:
        names: the slots.
        start_server, smoke: how a version is started and what it must answer.
        drain_timeout_s: how long requests may finish on the old version after a switch.
        soak_s: how long the old version's server is kept warm after a switch, so that going back starts nothing.
        hold_s: None where two versions run side by side. Else only one fits: a switch stops the old one first, and
            requests wait so long for the new one; nothing is kept warm.
        sleeps: with `hold_s`, the old one sleeps instead of being stopped: woken where the new one fails, and kept
            asleep for `soak_s` after a switch, so that going back loads nothing.
        lost_s: how long requests wait for a live version whose server has ended while it is being brought back.
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
        sleeps: bool = False,
        lost_s: float = 0.0,
        on_switch: Callable[[Deployment], None] = lambda deployment: None,
    ) -> None:
        super().__init__(start_server, smoke, drain_timeout_s)
        self.slots = [Slot(name) for name in names]
        self.soak_s, self.hold_s, self.sleeps, self.lost_s = soak_s, hold_s, sleeps, lost_s
        self.on_switch = on_switch
        #: Whether somebody is bringing back a live version that was lost; recovery says so.
        self.returning: Callable[[], bool] = lambda: False
        self.live: Slot | None = None
        self.candidate: Slot | None = None
        self.share = Share("", 0.0)
        self.leases: set[Lease] = set()
        self.starting: Deployment | None = None
        self._changing = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._soaking: asyncio.Task[None] | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._trial: asyncio.Task[Any] | None = None

    @property
    def changing(self) -> bool:
        """Whether a deployment is under way."""
        return self._changing.locked()

    @property
    def holding(self) -> bool:
        """Whether requests wait for a version that takes the old one's place."""
        return not self._open.is_set()

    @property
    def serving(self) -> bool:
        """Whether a live version answers."""
        return self.live is not None and self.live.healthy

    @property
    def lost(self) -> bool:
        """Whether the server of the live version has ended, or is known not to work."""
        return self.live is not None and not self.live.healthy and not self.closing

    async def opened(self) -> None:
        """Wait while requests are held, at most `hold_s`, or what was lost is brought back, at most `lost_s`.

        What is asked after that finds nothing live.
        """
        if self.holding:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._open.wait(), self.hold_s)
        deadline = time.monotonic() + self.lost_s
        while self.lost and not self.holding and self.returning() and time.monotonic() < deadline:
            await asyncio.sleep(LOST_POLL_S)

    async def ended(self, lease: Lease) -> bool:
        """Wait until the server of a lease, which has broken off, has ended.

        Returns:
            False where it goes on, or nobody waits for a lost live version.
        """
        if not lease.candidate and not self.lost_s:
            return False
        slot = next(slot for slot in self.slots if slot.name == lease.slot)
        deadline = time.monotonic() + ENDING_S
        while slot.server is lease.server and slot.healthy:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOST_POLL_S)
        return True

    def give_way(self) -> None:
        """End the start of a version that is only tried: the live one was lost and comes first."""
        if self._trial:
            log.warning("slots: what was being tried is ended: the live version was lost")
            self._trial.cancel()

    @contextmanager
    def _trying_out(self) -> Iterator[None]:
        """Let `give_way` end what runs inside."""
        self._trial = asyncio.current_task()
        try:
            yield
        finally:
            self._trial = None

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
        lease = Lease(slot.name, slot.server.url, slot.deployment, to_candidate, slot.server)
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
            with self._trying_out():
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
                with self._trying_out():
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

    def _require_quiet(self) -> None:
        """Refuse to use the idle slot while somebody else does."""
        self._require_open()
        if self.hold_s is not None:
            raise ConfigError("this machine serves one version at a time (serve.swap: hold, sleep)",
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
        """Serve a version where only one fits: hold requests, stop the old one or let it sleep, start the new one.

        Where that fails, the old one is woken or started again.
        """
        before, idle = old.deployment if old.healthy else None, self._idle()
        self._end_soak()
        on_progress(f"requests are held, at most {duration(self.hold_s or 0.0)} each")
        self._open.clear()
        try:
            try:
                await self._make_way(old, idle, deployment, on_progress)
                await self._take_place(idle, deployment, on_progress)
            except BaseException:
                if before and not self.closing and (old.server is None or old.asleep):
                    await self._bring_back(old, before)
                raise
            self._make_live(idle, deployment)
        finally:
            self._open.set()
        on_progress(f"version {deployment.version} is live in slot {idle.name}")
        if old.asleep:
            await self._leave(old, on_progress)
        return idle

    async def _make_way(
        self, old: Slot, idle: Slot, deployment: Deployment, on_progress: Callable[[str], None]
    ) -> None:
        """Free the card: the old version sleeps, or stops where it cannot; a third one that sleeps is stopped."""
        if idle.asleep and not deployment.serves_as(idle.deployment):
            await self._stop(idle)
        if not (self.sleeps and old.healthy and isinstance(old.server, Sleeper)):
            await self._retire(old, on_progress)
            return
        await self._drain(old, on_progress)
        try:
            # Whatever becomes of the asker, it is known to sleep.
            old.asleep = True
            await to_its_end(old.server.sleep)
        except TunegateError as error:
            log.warning("slots: %s does not sleep and is stopped: %s", old.name, error.message)
            await self._stop(old)

    async def _take_place(self, slot: Slot, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Wake a version that sleeps in a slot, or start it."""
        if slot.asleep and deployment.serves_as(slot.deployment):
            try:
                await wake(slot, deployment, self.smoke)
                on_progress(f"version {deployment.version} is awake again in slot {slot.name}")
                return
            except TunegateError as error:
                log.warning("slots: %s does not wake and is loaded: %s", slot.name, error.message)
        await self._start(slot, deployment, on_progress)

    async def _bring_back(self, slot: Slot, deployment: Deployment) -> None:
        """Wake or start the old version, even where the asker leaves; where that fails, recovery goes on trying."""
        log.warning("slots: version %s is brought back", deployment.version)
        self.starting = deployment
        task = asyncio.create_task(self._take_place(slot, deployment, log.info))
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
