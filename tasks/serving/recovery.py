"""The host on its own: what it served is brought up again after any end; what will not start is passed over.

It asks nobody: MLflow and Prefect may be down. Which version ought to be champion is the control plane's to say; it
says so with the next deployment.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import TransientError, TunegateError
from tasks.core.progress import duration
from tasks.engine.deployment import Deployment
from tasks.serving.record import ServedRecord
from tasks.serving.slots import Slots

log = logging.getLogger(__name__)


#: A wait is not doubled more often: the number of failures has no end, that of a float has.
DOUBLED = 30


@dataclass(frozen=True)
class Pace:
    """How patient recovery is; times in seconds.

    Args:
        look_every_s: between two looks at the live server.
        ill_looks: looks in a row that must find its process alive but not answering before it is replaced.
        first_wait_s, longest_wait_s: before the second try; doubled up to the longest.
        tries: failed starts of one version before the one before it serves instead.
        steady_s: a version that ends sooner after its start has failed too.
        after_abort_s: how long a person who ended a start is left alone.
    """

    look_every_s: float = 1.0
    ill_looks: int = 5
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0
    tries: int = 3
    steady_s: float = 30.0
    after_abort_s: float = 10.0


class Recovery:
    """Keeps up what the record wants.

    Args:
        record: what took traffic here last.
        slots: where it is served.
        healthy: asks the live server.
        verify: checks a version's bytes.
    """

    def __init__(
        self,
        record: ServedRecord,
        slots: Slots,
        healthy: Callable[[], Awaitable[bool]],
        pace: Pace | None = None,
        verify: Callable[[Deployment], None] = Deployment.verify,
    ) -> None:
        self.record, self.slots, self.healthy, self.pace = record, slots, healthy, pace or Pace()
        self.verify = verify
        self.failures = 0
        self._ill = 0
        #: Whether a person has ended our last start.
        self._ended = False
        self._start: asyncio.Task[Any] | None = None
        #: When it was last brought up, until it has proven steady.
        self._up_at: float | None = None

    @property
    def recovering(self) -> bool:
        """Whether a version is being brought up, or will be tried again."""
        return self._start is not None or (self.failures > 0 and self._up_at is None)

    async def run(self) -> None:
        """Look after the live server until cancelled."""
        while True:
            wait_s = self.pace.look_every_s
            wanted = self.record.wanted
            if wanted and self.slots.changing and self.slots.lost:
                self.slots.give_way()
            elif wanted and not self.slots.changing and not self.slots.closing and await self._down():
                wait_s = await self._bring_up(wanted)
            await asyncio.sleep(wait_s)

    @property
    def returning(self) -> bool:
        """Whether what was lost will soon be live again: no try has failed yet and nobody has ended one."""
        return self.record.wanted is not None and self.failures == 0 and not self._ended

    def abort(self) -> bool:
        """End a start of ours that is under way; return whether there was one."""
        return bool(self._start and self._start.cancel())

    def switched(self) -> None:
        """Forget earlier failures where somebody else than recovery has made a version live."""
        self._ended = False
        if self._start is None:
            self.failures, self._up_at = 0, None

    async def _down(self) -> bool:
        """Return whether the live server has to be brought up: it is gone, or has not answered for a while."""
        slot = self.slots.live
        if slot is None or not slot.healthy:
            return True
        self._ill = 0 if await self.healthy() else self._ill + 1
        if self._up_at is not None and time.monotonic() - self._up_at > self.pace.steady_s:
            self.failures, self._up_at = 0, None
        slot.ill = self._ill >= self.pace.ill_looks
        return slot.ill

    async def _bring_up(self, wanted: Deployment) -> float:
        """Try once, and return how long to wait before the next look."""
        if (up_at := self._up_at) is not None:
            self._up_at = None
            lived = duration(time.monotonic() - up_at)
            return self._failed(wanted, TransientError(f"it ended {lived} after it was brought up"))
        log.warning("recovery: version %s is not up; starting it (try %d)", wanted.version, self.failures + 1)
        self._ill, self._ended = 0, False
        self._start = asyncio.create_task(self._verified_start(wanted))
        try:
            await asyncio.wait([self._start])
            self._start.result()
        except asyncio.CancelledError:
            return self._left_alone()
        except TunegateError as error:
            return self._failed(wanted, error)
        finally:
            with suppress(asyncio.CancelledError):
                if not self._start.done():
                    # The host is stopping.
                    self._start.cancel()
                    await self._start
            self._start = None
        self._up_at = time.monotonic()
        log.info("recovery: version %s serves again", wanted.version)
        return self.pace.look_every_s

    def _left_alone(self) -> float:
        """Return how long nothing is tried after a person ended a start; the host's own end goes on as such."""
        task = asyncio.current_task()
        if task and task.cancelling():
            raise asyncio.CancelledError
        self._ended = True
        return self.pace.after_abort_s

    async def _verified_start(self, wanted: Deployment) -> None:
        """Check the bytes and start them."""
        await asyncio.to_thread(self.verify, wanted)
        await self.slots.deploy(wanted, lambda line: log.info("recovery: %s", line))

    def _failed(self, wanted: Deployment, error: TunegateError) -> float:
        """Count a failed start; after so many the version before it is wanted instead."""
        self.failures += 1
        log.error("recovery: version %s did not stay up: %s", wanted.version, error)
        if self.failures >= self.pace.tries and self.record.previous:
            self.record.give_up(wanted, error.message)
            self.failures = 0
            instead = self.record.wanted
            log.error("recovery: version %s is given up after %d tries; version %s serves instead", wanted.version,
                      self.pace.tries, instead and instead.version)  # fmt: skip
            return 0.0
        wait_s: float = min(self.pace.first_wait_s * 2 ** min(self.failures - 1, DOUBLED), self.pace.longest_wait_s)
        log.warning("recovery: next try in %s", duration(wait_s))
        return wait_s
