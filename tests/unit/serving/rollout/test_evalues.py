"""An E-value's mean is at most 1 under every point of its null: shown by adding up every outcome of a block."""

from itertools import product
from math import comb

import numpy as np
import pytest

from tasks.serving.rollout.evalues import log_ratio, nearest_equal, nearest_shifted

RATES = (0.001, 0.02, 0.1, 0.3, 0.6, 0.95, 0.999)


def mean_of_e(truth, alternative, null, sizes) -> float:
    """Add up the likelihood ratio over all outcomes of a block, weighed by how likely the truth makes them."""
    total = 0.0
    for hits in product(range(sizes[0] + 1), range(sizes[1] + 1)):
        likely, log_e = 1.0, 0.0
        for arm in (0, 1):
            likely *= comb(sizes[arm], hits[arm]) * truth[arm] ** hits[arm]
            likely *= (1 - truth[arm]) ** (sizes[arm] - hits[arm])
            log_e += log_ratio(
                np.array(hits[arm]), np.array(sizes[arm]), np.array(alternative[arm]), np.array(null[arm])
            )
        total += likely * float(np.exp(log_e))
    return total


@pytest.mark.parametrize("sizes", [(1, 1), (7, 1), (2, 9)])
def test_no_point_without_a_loss_lets_e_grow(sizes):
    for alternative in ((0.02, 0.1), (0.3, 0.35), (0.1, 0.95)):
        common = float(nearest_equal(*map(np.array, (*alternative, *sizes))))
        for live, canary in product(RATES, RATES):
            if canary <= live:
                assert mean_of_e((live, canary), alternative, (common, common), sizes) <= 1 + 1e-9
        assert mean_of_e(alternative, alternative, (common, common), sizes) > 1.005


@pytest.mark.parametrize("sizes", [(1, 1), (7, 1), (2, 9)])
@pytest.mark.parametrize("shift", [0.04, 0.3])
def test_no_point_with_the_whole_loss_lets_e_grow(sizes, shift):
    for alternative in ((0.02, 0.02), (0.3, 0.3), (0.5, 0.45), (0.97, 0.97)):
        null = float(nearest_shifted(*map(np.array, (*alternative, *sizes, shift))))
        for live, canary in product(RATES, RATES):
            if canary >= live + shift:
                assert mean_of_e((live, canary), alternative, (null, null + shift), sizes) <= 1 + 1e-9
        assert mean_of_e(alternative, alternative, (null, null + shift), sizes) > 1.0005


def test_a_null_point_that_is_not_the_nearest_is_seen_by_the_same_sum():
    """The plain ratio against the live rate alone is no E-value: the sum above can tell."""
    assert mean_of_e((0.1, 0.1), (0.02, 0.1), (0.02, 0.02), (7, 1)) > 1.1
