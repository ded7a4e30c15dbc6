"""How long a run and its stages may take, and what is said where they take longer."""

import time

import pytest

from flows.limits import Allowance
from tasks.core.errors import TunegateError
from tasks.core.params.orchestration import LimitsParams

LIMITS = LimitsParams(run_timeout_s=100.0, stage_timeout_s=60.0)


@pytest.mark.parametrize(
    ("elapsed_s", "allowed_s", "key"), [(0.0, 60.0, "limits.stage_timeout_s"), (70.0, 30.0, "limits.run_timeout_s")]
)
def test_a_stage_may_take_its_own_time_and_no_more_than_the_run_has_left(elapsed_s, allowed_s, key):
    allowance = Allowance(LIMITS, time.monotonic() - elapsed_s)
    assert allowance.stage_s("train") == pytest.approx(allowed_s, abs=1)
    error = allowance.over("train", allowance.stage_s("train"))
    assert "train" in error.message
    assert key in error.message
    assert key in error.hint


def test_a_run_without_time_left_starts_no_stage():
    with pytest.raises(TunegateError, match=r"took longer than .* \(limits.run_timeout_s\)"):
        Allowance(LIMITS, time.monotonic() - 101).stage_s("gate")
