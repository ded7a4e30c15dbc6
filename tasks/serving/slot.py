"""A place that a version is served from, what holds it for a request, and who asks which."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tasks.core.errors import TransientError
from tasks.engine.deployment import Deployment


class Server(Protocol):
    """What a slot needs of a model server."""

    @property
    def url(self) -> str:
        """Base URL, without /v1."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""

    def wait_ready(self) -> float:
        """Wait until it answers; raises TransientError when it will not."""

    def stop(self) -> None:
        """End it and everything it started."""


@runtime_checkable
class Sleeper(Server, Protocol):
    """A model server that can give its memory on the card back and keep its weights in the machine's."""

    def sleep(self) -> None:
        """Give it back; raises TransientError where it does not."""

    def wake(self) -> None:
        """Take it again; raises TransientError where it does not."""


#: Starts a server for a deployment in a slot (`blue` or `green`) and returns without waiting for it.
StartServer = Callable[[str, Deployment, Callable[[str], None]], Server]
#: Asks a started server its smoke prompts; raises when it may not go live.
Smoke = Callable[[str, Deployment], Awaitable[None]]


@dataclass(eq=False)
class Slot:
    """One of the two places a version can be served from.

    Args:
        asleep: whether its server has given its memory on the card back; it answers nobody until it is woken.
        ill: whether its server was found to run and not to work: nobody is sent to it any more, or waits for it.
    """

    name: str
    server: Server | None = None
    deployment: Deployment | None = None
    in_flight: int = 0
    ill: bool = False
    asleep: bool = False

    @property
    def healthy(self) -> bool:
        """Whether a server runs here and is not known to be ill."""
        return self.server is not None and self.server.alive and not self.ill


@dataclass(frozen=True, eq=False)
class Lease:
    """A slot held for one request: it is not stopped before the request ends or the drain time is over.

    Args:
        candidate: whether it is the candidate's slot.
        server: what answers there.
        began: when it was taken, by the monotonic clock.
    """

    slot: str
    url: str
    deployment: Deployment
    candidate: bool = False
    server: Server | None = None
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Share:
    """The candidate's part of the requests.

    Args:
        salt: of the rollout; another one gives other callers to the candidate.
        percent: 0 to 100.
    """

    salt: str
    percent: float

    def holds(self, unit: str) -> bool:
        """Tell whether a unit (a caller, a conversation) belongs to the candidate: always the same, and more units
        with a higher share, never others.
        """
        digest = hashlib.sha256(f"{self.salt}\0{unit}".encode()).digest()
        return int.from_bytes(digest[:8]) * 100 < self.percent * 2**64


async def wake(slot: Slot, deployment: Deployment, smoke: Smoke) -> None:
    """Have a version that sleeps in a slot answer again, as it is to answer.

    Raises:
        TunegateError: it does not.
    """
    if not isinstance(slot.server, Sleeper) or not slot.healthy:
        raise TransientError(f"the server in slot {slot.name} ended in its sleep")
    await to_its_end(slot.server.wake)
    await smoke(slot.server.url, deployment)
    slot.asleep = False


async def to_its_end(call: Callable[[], None]) -> None:
    """Run a call in a thread; whoever is cancelled meanwhile waits for its end first."""
    task = asyncio.create_task(asyncio.to_thread(call))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
