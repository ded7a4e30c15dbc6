"""Rate and token limits of each key: token buckets that fill by the minute's share."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.core.settings import GatewayParams
from tasks.serving.keys import ApiKey

SECONDS = 60.0


class TokenBucket:
    """A bucket that holds one minute's worth and fills evenly.

    Args:
        per_minute: capacity, and what flows in each minute.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self.level = float(per_minute)
        self.filled_at = clock()

    def wait_s(self, amount: float) -> float:
        """Return the seconds until `amount` can be taken; 0 when it can be now.

        More than the capacity counts as the capacity: a full bucket lets any single request through.
        """
        self._fill()
        missing = min(amount, self.per_minute) - self.level
        return max(0.0, missing * SECONDS / self.per_minute)

    def take(self, amount: float) -> None:
        """Take out `amount` (negative: put back); the level may fall below zero, later requests wait for it."""
        self._fill()
        self.level = min(float(self.per_minute), self.level - amount)

    def hold(self, per_minute: int) -> None:
        """Have another capacity from here on; what was taken out of it stays taken."""
        if per_minute != self.per_minute:
            self._fill()
            self.level = min(self.level + max(0, per_minute - self.per_minute), float(per_minute))
            self.per_minute = per_minute

    def _fill(self) -> None:
        """Let in what has flowed since the last look."""
        now = self.clock()
        self.level = min(float(self.per_minute), self.level + (now - self.filled_at) * self.per_minute / SECONDS)
        self.filled_at = now


@dataclass
class Buckets:
    """The two buckets of one key."""

    requests: TokenBucket
    tokens: TokenBucket


class Limits:
    """Buckets of all keys, made on first use; they start full when the gateway starts.

    Args:
        params: what everybody may have; a key's own limits can only be lower.
    """

    def __init__(self, params: GatewayParams, clock: Callable[[], float] = time.monotonic) -> None:
        self.params, self.clock = params, clock
        self._buckets: dict[str, Buckets] = {}

    def request(self, key: ApiKey) -> int:
        """Take one request; return 0, or the whole seconds to wait when nothing was taken. Cheap: it comes first."""
        return _taken(self._of(key).requests, 1)

    def reserve(self, key: ApiKey, tokens: int) -> int:
        """Reserve `tokens`; return 0, or the whole seconds to wait when nothing was taken.

        Args:
            tokens: the most that prompt and answer may cost; `settle` gives back what they did not.
        """
        return _taken(self._of(key).tokens, tokens)

    def settle(self, key: ApiKey, reserved: int, used: int) -> None:
        """Replace a reservation by what was used."""
        self._of(key).tokens.take(used - reserved)

    def _of(self, key: ApiKey) -> Buckets:
        """Return the buckets of a key's name, with the limits of this moment.

        By name: a key made anew, or its successor in a rotation, does not get its limits twice.
        """
        requests = min(key.requests_per_minute or self.params.requests_per_minute, self.params.requests_per_minute)
        tokens = min(key.tokens_per_minute or self.params.tokens_per_minute, self.params.tokens_per_minute)
        buckets = self._buckets.get(key.name)
        if buckets is None:
            buckets = Buckets(TokenBucket(requests, self.clock), TokenBucket(tokens, self.clock))
            self._buckets[key.name] = buckets
        buckets.requests.hold(requests)
        buckets.tokens.hold(tokens)
        return buckets


def _taken(bucket: TokenBucket, amount: float) -> int:
    """Take an amount out; return 0, or the whole seconds to wait when nothing was taken."""
    if (wait_s := bucket.wait_s(amount)) > 0:
        return math.ceil(wait_s)
    bucket.take(amount)
    return 0
