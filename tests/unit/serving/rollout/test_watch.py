"""What is watched of an answer, which arm a caller belongs to, and when a block is closed."""

import pytest

from tasks.serving.rollout.judge import METRICS
from tasks.serving.rollout.watch import LEAST_TIMES, Blocks, Observation, said_in
from tasks.serving.slots import Share


def answer(began: float, *, candidate: bool = False, status: int = 200, seconds: float = 1.0, stream: bool = False,
           text: str = "碘片在照射前服用") -> Observation:  # fmt: skip
    made = Observation(candidate, began, status, seconds, stream, lambda: text)
    made.read()
    return made


def hits(block, arm: int) -> dict[str, float]:
    return dict(zip(METRICS, block.hits[arm, 0], strict=True))


@pytest.mark.parametrize(("text", "refusal", "unknown"), [
    ("碘片在照射前服用。", False, False), ("抱歉，我不能提供这类信息。", True, False),
    ("目前尚未确认泄漏量。", False, True),
    ("I can't help with that.", True, False), ("The release is not yet known.", False, True), ("", False, False),
])  # fmt: skip
def test_refusals_and_unknowns_are_known_by_the_evaluations_words(text, refusal, unknown):
    assert said_in(text) == (refusal, unknown)


def test_a_block_waits_for_its_slowest_request():
    blocks = Blocks(10.0, began=0.0)
    blocks.add([answer(1.0), answer(2.0, candidate=True)])
    assert blocks.closed(9.0, 9.0) == []
    assert blocks.closed(60.0, oldest_open=3.0) == []
    blocks.add([answer(3.0, candidate=True, status=503)])
    (block,) = blocks.closed(60.0, oldest_open=60.0)
    assert block.n[:, 0].tolist() == [1, 2]
    assert (hits(block, 0)["error"], hits(block, 1)["error"]) == (0, 1)


def test_a_block_grows_until_both_arms_have_a_request():
    blocks = Blocks(10.0, began=0.0)
    blocks.add([answer(1.0), answer(11.0), answer(25.0, candidate=True), answer(31.0)])
    (block,) = blocks.closed(35.0, 35.0)
    assert block.n[:, 0].tolist() == [2, 1]
    assert len(blocks.pending) == 1


def test_slow_is_slower_than_nearly_all_of_the_live_ones_before():
    blocks = Blocks(10.0, began=0.0)
    first = [answer(1.0, seconds=float(number)) for number in range(LEAST_TIMES)]
    blocks.add([*first, answer(1.0, candidate=True, seconds=500.0)])
    (block,) = blocks.closed(11.0, 11.0)
    assert hits(block, 1)["slow"] == 0  # nothing to compare with yet
    blocks.add([answer(12.0), answer(12.0, candidate=True, seconds=LEAST_TIMES), answer(12.0, candidate=True),
                answer(12.0, candidate=True, seconds=500.0, stream=True),
                answer(12.0, candidate=True, status=499, seconds=500.0)])  # fmt: skip
    (block,) = blocks.closed(21.0, 21.0)
    # The slow one and the one whose caller gave up; streams are compared with streams, and there was none.
    assert (hits(block, 0)["slow"], hits(block, 1)["slow"]) == (0, 2)


def test_what_an_ill_answer_says_does_not_count():
    assert answer(1.0, status=503, text="I can't help with that.").refusal is False


def test_a_share_is_the_same_callers_every_time_and_grows_by_more_of_them():
    units = [f"caller {number}" for number in range(4000)]
    few, many = Share("rollout", 1.0), Share("rollout", 10.0)
    assert 20 <= sum(map(few.holds, units)) <= 65
    assert 330 <= sum(map(many.holds, units)) <= 470
    assert all(many.holds(unit) for unit in units if few.holds(unit))
    assert not any(Share("rollout", 0.0).holds(unit) for unit in units)
    assert all(Share("rollout", 100.0).holds(unit) for unit in units)
    assert [unit for unit in units if few.holds(unit)] != [unit for unit in units if Share("x", 1.0).holds(unit)]
