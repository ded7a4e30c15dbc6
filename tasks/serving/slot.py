"""A place that a version is served from, what holds it for a request, and who asks which."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

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


#: Starts a server for a deployment in a slot (`blue` or `green`) and returns without waiting for it.
StartServer = Callable[[str, Deployment, Callable[[str], None]], Server]
#: Asks a started server its smoke prompts; raises when it may not go live.
Smoke = Callable[[str, Deployment], Awaitable[None]]


@dataclass(eq=False)
class Slot:
    """One of the two places a version can be served from.

    Args:
        ill: whether its server was found to run and not to work: nobody is sent to it any more, or waits for it.
    """

    name: str
    server: Server | None = None
    deployment: Deployment | None = None
    in_flight: int = 0
    ill: bool = False

    @property
    def healthy(self) -> bool:
        """Whether a server runs here and is not known to be ill."""
        return self.server is not None and self.server.alive and not self.ill


@dataclass(frozen=True, eq=False)
class Lease:
    """A slot held for one request: it is not stopped before the request ends or the drain time is over.

    Args:
        candidate: whether it is the candidate's slot.
        began: when it was taken, by the monotonic clock.
    """

    slot: str
    url: str
    deployment: Deployment
    candidate: bool = False
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
