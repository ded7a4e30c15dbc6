from pathlib import Path

import pytest

from tasks.core.settings import load_settings
from tasks.serving.keys import ApiKey
from tasks.serving.limits import Limits, TokenBucket

ROOT = Path(__file__).parents[3]
PARAMS = load_settings(ROOT / "params.yaml").serve.gateway.model_copy(
    update={"requests_per_minute": 60, "tokens_per_minute": 600}
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def key(name="a", **limits):
    return ApiKey(name, "caller", f"hash of {name}", "", **limits)


def test_a_bucket_fills_by_the_minutes_share(clock):
    bucket = TokenBucket(60, clock)
    bucket.take(60)
    assert bucket.wait_s(1) == pytest.approx(1)
    clock.now += 0.5
    assert bucket.wait_s(1) == pytest.approx(0.5)
    clock.now += 1000
    assert bucket.wait_s(60) == 0


def test_a_full_bucket_lets_any_single_request_through_and_others_pay_for_it(clock):
    bucket = TokenBucket(10, clock)
    assert bucket.wait_s(50) == 0
    bucket.take(50)
    assert bucket.wait_s(1) == pytest.approx(41 * 6)


def test_requests_over_the_limit_wait(clock):
    limits = Limits(PARAMS, clock)
    assert [limits.request(key()) for _ in range(61)] == [0] * 60 + [1]
    clock.now += 1
    assert limits.request(key()) == 0


def test_a_refused_request_takes_nothing(clock):
    limits = Limits(PARAMS, clock)
    assert limits.reserve(key(), 600) == 0
    assert limits.reserve(key(), 60) == 6
    clock.now += 6
    assert limits.reserve(key(), 60) == 0


def test_what_was_reserved_and_not_used_comes_back(clock):
    limits = Limits(PARAMS, clock)
    assert limits.reserve(key(), 600) == 0
    limits.settle(key(), 600, 100)
    assert limits.reserve(key(), 500) == 0
    assert limits.reserve(key(), 1) > 0


def test_keys_do_not_share_and_cannot_raise_their_limits(clock):
    limits = Limits(PARAMS, clock)
    assert limits.request(key("small", requests_per_minute=1)) == 0
    assert limits.request(key("small", requests_per_minute=1)) == 60
    assert limits.request(key("other")) == 0
    greedy = key("greedy", requests_per_minute=10**9)
    assert [limits.request(greedy) for _ in range(61)][-1] == 1


def test_a_rotated_key_does_not_get_its_limits_twice(clock):
    limits = Limits(PARAMS, clock)
    successor = ApiKey("a", "caller", "another hash", "")
    assert limits.reserve(key(), 600) == 0
    assert limits.reserve(successor, 60) == 6


def test_new_limits_count_at_once_and_what_was_used_stays_used(clock):
    limits = Limits(PARAMS, clock)
    assert limits.reserve(key(), 600) == 0
    assert limits.reserve(key(tokens_per_minute=60), 60) == 60
    limits.params = PARAMS.model_copy(update={"tokens_per_minute": 1200})
    assert limits.reserve(key(), 600) == 0
    assert limits.reserve(key(), 600) > 0
