"""The paired statistics against scipy, by enumeration and by simulation."""

import math
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from tasks.evaluation.statistics.binary import (
    binomial_floor,
    compare_binary,
    detectable_binary,
    paired_binary_p,
    score_interval,
)
from tasks.evaluation.statistics.comparison import holm
from tasks.evaluation.statistics.continuous import compare_continuous, detectable_continuous


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (9, 2), (2, 9), (30, 31), (60, 20)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_items(gains, losses):
    expected = stats.binomtest(gains, gains + losses, alternative="greater").pvalue if gains + losses else 1.0
    assert paired_binary_p(gains, losses, 104, threshold=0) == pytest.approx(expected)


def test_mcnemar_matches_enumeration_over_sign_flips():
    # 6 discordant items: every assignment of directions is equally likely under H0.
    flips = [bin(code).count("1") for code in range(2**6)]
    assert paired_binary_p(5, 1, 40, threshold=0) == pytest.approx(np.mean([count >= 5 for count in flips]))


def test_direction_is_improvement():
    base, better = [0.0] * 30 + [1.0] * 10, [1.0] * 20 + [0.0] * 10 + [1.0] * 10
    up = compare_binary(base, better, threshold=0, alpha=0.05)
    down = compare_binary(better, base, threshold=0, alpha=0.05)
    assert up.difference == pytest.approx(0.5)
    assert up.p_value < 0.001 < 0.999 < down.p_value
    assert down.p_opposite == pytest.approx(up.p_value)
    assert down.interval == pytest.approx((-up.interval[1], -up.interval[0]))


def test_score_test_agrees_with_large_sample_normal_theory():
    gains, losses, n, threshold = 400, 420, 5000, -0.014
    rate_sum, difference = (gains + losses) / n, (gains - losses) / n
    z = (difference - threshold) / np.sqrt((rate_sum - difference**2) / n)
    assert paired_binary_p(gains, losses, n, threshold=threshold) == pytest.approx(stats.norm.sf(z), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "threshold", "loss_rate"),
    [(104, 0.0, 0.15), (44, -0.1, 0.1), (104, -0.1, 0.3), (50, -0.1, 0.2), (30, 0.05, 0.05)],
)
def test_exact_tests_keep_their_level(n, threshold, loss_rate):
    gain_rate = loss_rate + threshold
    draws = np.random.default_rng(3).multinomial(n, [gain_rate, loss_rate, 1 - gain_rate - loss_rate], size=3000)
    p_of = cache(lambda gains, losses: paired_binary_p(gains, losses, n, threshold=threshold))
    rejected = np.mean([p_of(int(gains), int(losses)) <= 0.05 for gains, losses, _ in draws])
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 3000)


def test_score_interval_covers():
    n, gain_rate, loss_rate = 104, 0.15, 0.05
    draws = np.random.default_rng(5).multinomial(n, [gain_rate, loss_rate, 1 - gain_rate - loss_rate], size=2000)
    interval = cache(lambda gains, losses: score_interval(gains, losses, n, confidence=0.95))
    covered = [low <= 0.1 <= high for low, high in (interval(int(g), int(b)) for g, b, _ in draws)]
    assert 0.93 <= np.mean(covered) <= 0.98


def test_score_interval_solves_the_constrained_likelihood():
    # The loss rate under each bound found by maximizing the trinomial likelihood numerically, not by the closed form.
    gains, losses, n = 3, 9, 44

    def z(difference):
        def minus_log_likelihood(rate):
            chances = rate + difference, rate, 1 - 2 * rate - difference
            return -stats.multinomial.logpmf((gains, losses, n - gains - losses), n, chances)

        limits = max(0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9
        rate = optimize.minimize_scalar(minus_log_likelihood, bounds=limits, method="bounded").x
        return (gains - losses - n * difference) / np.sqrt(n * (2 * rate + difference - difference**2))

    low, high = score_interval(gains, losses, n, confidence=0.95)
    assert (z(low), z(high)) == pytest.approx((1.96, -1.96), abs=0.005)


def test_bootstrap_agrees_with_the_t_test_on_normal_differences():
    differences = np.random.default_rng(1).normal(0.1, 0.5, 96)
    zeros = np.zeros(96)
    found = compare_continuous(zeros, differences, threshold=0.05, alpha=0.05, samples=10000, seed=1)
    expected = stats.ttest_1samp(differences, 0.05, alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected, abs=0.02)
    assert found.interval == pytest.approx(
        stats.t.interval(0.95, 95, differences.mean(), stats.sem(differences)), abs=0.02
    )
    assert found.p_value + found.p_opposite == pytest.approx(1, abs=0.001)


def test_bootstrap_is_seeded():
    generator = np.random.default_rng(2)
    base, value = generator.normal(size=40), generator.normal(size=40)
    arguments = {"threshold": 0.0, "alpha": 0.05, "samples": 500}
    first = compare_continuous(base, value, seed=7, **arguments)
    assert first == compare_continuous(base, value, seed=7, **arguments)
    assert first != compare_continuous(base, value, seed=8, **arguments)


def test_bootstrap_keeps_its_level_on_skewed_differences():
    generator = np.random.default_rng(11)
    rejected = [
        compare_continuous(
            np.zeros(60), generator.exponential(1.0, 60) - 1.0, threshold=0.0, alpha=0.05, samples=400, seed=run
        ).p_value
        <= 0.05
        for run in range(600)
    ]
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_chunks_do_not_change_the_bootstrap_size():
    value = np.random.default_rng(4).normal(0.2, 1, 3000)
    found = compare_continuous(np.zeros(3000), value, threshold=0.0, alpha=0.05, samples=2000, seed=0)
    assert found.p_value == pytest.approx(1 / 2001)


@pytest.mark.parametrize(("difference", "expected"), [(0.0, "below"), (0.2, "above")])
def test_identical_differences_need_no_variance(difference, expected):
    found = compare_continuous([1.0] * 10, [1.0 + difference] * 10, threshold=0.1, alpha=0.05, samples=200, seed=0)
    assert found.interval == pytest.approx((difference, difference))
    assert found.minimum_detectable == 0.0
    assert (found.p_value < 0.01) is (expected == "above")
    assert (found.p_opposite < 0.01) is (expected == "below")


@pytest.mark.slow
@pytest.mark.parametrize(("n", "threshold"), [(104, 0.0), (104, -0.1), (44, 0.0)])
def test_binary_detectable_effect_has_the_power_it_claims(n, threshold):
    effect = detectable_binary(n, discordant_rate=0.25, threshold=threshold, alpha=0.05)
    truth = threshold + effect
    rate = max(0.25, abs(truth))
    draws = np.random.default_rng(9).multinomial(n, [(rate + truth) / 2, (rate - truth) / 2, 1 - rate], size=3000)
    p_of = cache(lambda gains, losses: paired_binary_p(gains, losses, n, threshold=threshold))
    power = np.mean([p_of(int(gains), int(losses)) <= 0.05 for gains, losses, _ in draws])
    assert power == pytest.approx(0.8, abs=0.03)


def test_continuous_detectable_effect_has_the_power_it_claims():
    effect = detectable_continuous(96, 0.5, alpha=0.05)
    differences = np.random.default_rng(6).normal(effect, 0.5, size=(5000, 96))
    p_values = stats.ttest_1samp(differences, 0.0, axis=1, alternative="greater").pvalue
    assert np.mean(p_values <= 0.05) == pytest.approx(0.8, abs=0.03)


def test_undetectable_effect_says_so():
    assert detectable_binary(3, discordant_rate=0.1, threshold=0.0, alpha=0.01) == pytest.approx(1.0)


def test_holm_matches_the_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_holm_controls_the_family():
    p_values = np.random.default_rng(8).uniform(size=(4000, 5))
    assert np.mean([min(holm(row)) <= 0.05 for row in p_values]) <= 0.06


def test_floor_is_the_binomial_test():
    p_value, low, high = binomial_floor([1.0] * 42 + [0.0] * 2, floor=0.9)
    assert p_value == pytest.approx(stats.binomtest(42, 44, 0.9, alternative="greater").pvalue)
    assert low < 42 / 44 < high


@pytest.mark.parametrize(("base", "value"), [([1.0], [1.0]), ([1.0, 0.0], [1.0]), ([0.5, 1.0], [1.0, 1.0])])
def test_items_that_do_not_pair_are_refused(base, value):
    with pytest.raises(ValueError, match=r"paired items|binary items"):
        compare_binary(base, value, threshold=0, alpha=0.05)


def test_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        compare_continuous([0.0, float("nan")], [0.0, 1.0], threshold=0, alpha=0.05, samples=100, seed=0)


def test_an_end_that_too_few_items_tell_is_infinite_and_no_huge_number():
    # One answer in 96 found one of two points: most bootstrap samples repeat one value.
    old, new = np.zeros(96), np.zeros(96)
    new[7] = 0.5
    found = compare_continuous(old, new, threshold=0.0, alpha=0.05, samples=2000, seed=1, confidence=0.9)
    low, high = found.interval
    assert all(math.isinf(end) or abs(end) < 1 for end in (low, high))
    assert math.isinf(low) or math.isinf(high)
    assert 0 < found.p_value < 1
