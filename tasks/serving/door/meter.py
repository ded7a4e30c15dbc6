"""What a key may have: requests and tokens a minute, budgets, places. By this gateway's own count.

`tasks/serving/shared/meter.py` counts the same for several gateways together.
"""

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from tasks.core.settings import GatewayParams
from tasks.serving.admission import Refusal
from tasks.serving.door.budgets import Budgets
from tasks.serving.door.in_flight import Places
from tasks.serving.keys import ApiKey
from tasks.serving.limits import Limits


class Meter(Protocol):
    """What the door asks before a request may pass, and tells after it has."""

    @property
    def works(self) -> bool:
        """Whether limits hold over all gateways as they are set."""

    def follow(self, params: GatewayParams) -> None:
        """Go by other limits from the next request on."""

    async def request(self, key: ApiKey) -> None:
        """Take one request of the key's minute, or refuse with 429."""

    def place(self, key: ApiKey) -> AbstractAsyncContextManager[None]:
        """Hold one of the places for a request, or refuse with 429 or 503."""

    async def reserve(self, key: ApiKey, tokens: int) -> None:
        """Reserve the most tokens a request may cost, or refuse with 429."""

    def settle(self, key: ApiKey, reserved: int, used: int) -> None:
        """Charge what it has cost instead."""

    def keep(self) -> Coroutine[Any, Any, None]:
        """Keep what has to outlive this process, until cancelled."""


class LocalMeter:
    """The count of one gateway that is alone.

    Args:
        params: section `serve.gateway`.
        budgets_path: where it is kept what each key has used this day and month.
    """

    works = True

    def __init__(self, params: GatewayParams, budgets_path: Path) -> None:
        self.limits = Limits(params)
        self.places = Places(params.door)
        self.budgets = Budgets(budgets_path, params.door)

    def follow(self, params: GatewayParams) -> None:
        """Go by other limits from the next request on; those under way and what was used stay counted."""
        self.limits.params, self.places.params, self.budgets.params = params, params.door, params.door
        self.places.let_in()

    async def request(self, key: ApiKey) -> None:
        """Take one request of the key's minute; 429 where there is none left."""
        if wait_s := self.limits.request(key):
            raise over_rate(key, "requests", wait_s)

    def place(self, key: ApiKey) -> AbstractAsyncContextManager[None]:
        """Hold a place; see `Places.place`."""
        return self.places.place(key)

    async def reserve(self, key: ApiKey, tokens: int) -> None:
        """Reserve tokens; 429 where the key has not that many left this minute, today or this month."""
        self.budgets.require(key)
        if wait_s := self.limits.reserve(key, tokens):
            raise over_rate(key, "tokens", wait_s)
        self.budgets.reserve(key, tokens)

    def settle(self, key: ApiKey, reserved: int, used: int) -> None:
        """Charge what a request has cost instead of what was reserved."""
        self.limits.settle(key, reserved, used)
        self.budgets.settle(key, reserved, used)

    async def keep(self) -> None:
        """Keep the file of budgets as things are, until cancelled."""
        await self.budgets.keep()


def over_rate(key: ApiKey, what: str, wait_s: int) -> Refusal:
    """Return the refusal of a key that has used up its minute."""
    return Refusal(429, "rate_limited", f"key {key.name} is over its {what} a minute; again in {wait_s} s",
                   retry_after_s=wait_s)  # fmt: skip
