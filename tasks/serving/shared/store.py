"""The way to the store that gateways share: whether it is there, and what it knows of all of them.

A store that does not answer is not asked again by requests: a beat of its own finds out when it is back, so that its
loss costs the requests of one moment a second and the others nothing.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tasks.core.errors import ConfigError
from tasks.serving.replica import LIMITS_VARIABLE, replica
from tasks.serving.shared import scripts

log = logging.getLogger(__name__)

#: Set by `tunegate gateway`.
FOLLOWS_VARIABLE = "TUNEGATE_FOLLOWS"
#: A place and a gateway are forgotten that long after their gateway's last beat.
HELD_S = 10.0
BEAT_S = 2.0
#: Between two tries to reach a lost store.
TRY_EVERY_S = 0.5
TIMEOUT_S = 1.0


class StoreLostError(Exception):
    """The store did not answer; whoever asked goes by what this gateway knows itself."""


@dataclass
class Known:
    """What the store said last.

    Args:
        gateways: how many share it; 0: it has not been reached yet.
        epoch: changes where the store has lost what it knew.
        day, month: tokens by key's name.
        names: which day and month.
    """

    gateways: int = 0
    epoch: str = ""
    names: tuple[str, str] = ("", "")
    day: dict[str, int] = field(default_factory=dict)
    month: dict[str, int] = field(default_factory=dict)


class Store:
    """A Redis or Valkey server, by its URL.

    Args:
        url: redis:// or rediss:// (its certificate is verified); may hold a password, so it is never shown.
        model: whose limits; the beginning of every name in the store.
        replica: this gateway.
    """

    def __init__(self, url: str, model: str, replica: str) -> None:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ConfigError(
                f"{LIMITS_VARIABLE} is no redis:// or rediss:// URL", f"export {LIMITS_VARIABLE}=redis://..."
            )
        self.replica = replica
        # In braces: a cluster keeps all of it on one node, as scripts ask.
        self.prefix = f"tunegate:{{{model}}}:"
        self.client = Redis.from_url(url, decode_responses=True, socket_timeout=TIMEOUT_S,
                                     socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0))  # fmt: skip
        self._scripts = {name: self.client.register_script(text) for name, text in vars(scripts).items()
                         if name.isupper() and not name.startswith("_")}  # fmt: skip
        self.known = Known()
        self._asking: set[asyncio.Task[Any]] = set()
        #: When it was lost, by the monotonic clock; None while it answers.
        self.lost_since: float | None = time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self.lost_since is not None

    def key(self, *parts: str) -> str:
        """Return a name in the store."""
        return self.prefix + ":".join(parts)

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script of `scripts`.

        Raises:
            StoreLostError: it does not answer.
        """
        if self.lost:
            raise StoreLostError
        return await self._asked(name, keys, arguments)

    async def beat(self, days: tuple[str, str], held: Mapping[str, str], back: Callable[[bool], Any]) -> None:
        """Say that this gateway and its places are there, and learn what the others have used.

        Args:
            days: names of the day and the month.
            held: id of each place -> name of its key.
            back: awaited where the store was lost, before anybody asks it again, or has forgotten everything (True).
        """
        keys = [self.key("gateways"), self.key("epoch"), self.key("day", days[0]), self.key("month", days[1]),
                self.key("places"), *(self.key("places", name) for name in held.values())]  # fmt: skip
        mine = secrets.token_hex(8)
        arguments = [self.replica, round(HELD_S * 1000), mine, *held]
        gateways, epoch, day, month = await self._asked("BEAT", keys, arguments)
        # Also where another gateway has come first: until it has brought what it knows, this store knows nothing.
        forgotten = epoch == mine or self.known.epoch not in ("", epoch)
        self.known = Known(gateways, epoch, days, _counts(day), _counts(month))
        if self.lost or forgotten:
            await back(forgotten)
        if self.lost:
            log.info("limits: the store answers; %d gateway(s) share it", gateways)
        self.lost_since = None

    async def asked_plainly(self, ask: Callable[[Redis], Any]) -> Any:
        """Ask it something that needs no script.

        Raises:
            StoreLostError: it does not answer.
        """
        # In a task of its own: redis 8.1 takes the end of a task that waits for an answer for a timeout, and a caller
        # who left would look like a lost store.
        task = asyncio.create_task(ask(self.client))
        self._asking.add(task)
        task.add_done_callback(self._asked_to_end)
        try:
            return await asyncio.shield(task)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreLostError from error

    async def bring(self, days: tuple[str, str], rows: Sequence[Any]) -> None:
        """Add to the budgets; see `scripts.BRING`.

        Raises:
            StoreLostError: it does not answer.
        """
        await self._asked("BRING", [self.key("day", days[0]), self.key("month", days[1])], rows)

    async def close(self) -> None:
        """Let go of its connections."""
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self.client.aclose()

    async def _asked(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script, whether it was lost before or not."""
        return await self.asked_plainly(lambda client: self._scripts[name](keys=keys, args=arguments, client=client))

    def _asked_to_end(self, task: "asyncio.Task[Any]") -> None:
        """Note a loss, in the log once; also where nobody waits for the answer any more."""
        self._asking.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.lost:
            self.lost_since = time.monotonic()
            log.error("limits: the store is lost (%s); each gateway goes by its part", error or type(error).__name__)


def given_store(model: str) -> Store | None:
    """Return the store that the environment names, None where this gateway counts alone.

    Raises:
        ConfigError: it is no address of a store.
    """
    url = os.environ.get(LIMITS_VARIABLE, "")
    return Store(url, model, replica() or "") if url else None


def follows() -> bool:
    """Return whether this gateway serves what another one tells."""
    return os.environ.get(FOLLOWS_VARIABLE) == "1"


async def beats(beat: Callable[[], Any], store: Store) -> None:
    """Beat until cancelled; faster while the store is lost."""
    while True:
        try:
            await beat()
        except StoreLostError:
            log.debug("limits: the store does not answer")
        await asyncio.sleep(TRY_EVERY_S if store.lost else BEAT_S)


def _counts(flat: Sequence[str]) -> dict[str, int]:
    """Return a hash as Redis lists it."""
    return {name: int(count) for name, count in zip(flat[::2], flat[1::2], strict=True)}
