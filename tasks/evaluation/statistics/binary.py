"""0/1 items: exact McNemar, the exact unconditional score test, score intervals, what they can detect."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tasks.evaluation.statistics.comparison import POWER, TOLERANCE, Comparison, Floats, paired

Rejects = Callable[[Floats, Floats], NDArray[np.bool_]]
#: Points on which the unknown discordance rate is searched for the worst case of the exact unconditional test.
NUISANCE_POINTS = 201
#: Items up to which p-values are exact: beyond, the worst case over the nuisance takes seconds, and the statistic's
#: normal limit differs from it in the fourth decimal.
EXACT_ITEMS = 5000
#: Items up to which the detectable effect is exact; it is what a reader plans by, not what is judged.
EXACT_POWER_ITEMS = 400


def compare_binary(
    base: Sequence[float], value: Sequence[float], *, threshold: float, alpha: float, confidence: float = 0.95
) -> Comparison:
    """Compare 0/1 items: exact McNemar at threshold 0, the exact unconditional score test at any other threshold.

    Args:
        base: 0/1 per item at the old hop, length n >= 2.
        value: 0/1 per item at the new hop, in the same order.
        threshold: the improvement of the null hypothesis, within (-1, 1).
        alpha: one-sided level for the minimum detectable effect.
        confidence: level of the two-sided interval (Tango's score interval).

    Raises:
        ValueError: lengths differ, fewer than two items, or a value that is not 0 or 1.
    """
    old, new = paired(base, value)
    if not set(np.unique(np.concatenate([old, new]))) <= {0.0, 1.0}:
        raise ValueError("binary items must be 0 or 1")
    n, gains, losses = len(old), int(((new - old) > 0).sum()), int(((new - old) < 0).sum())
    rate = (gains + losses + 0.5) / (n + 1)
    return Comparison(
        n=n,
        base_value=float(old.mean()),
        value=float(new.mean()),
        difference=(gains - losses) / n,
        interval=score_interval(gains, losses, n, confidence=confidence),
        p_value=paired_binary_p(gains, losses, n, threshold=threshold),
        p_opposite=paired_binary_p(losses, gains, n, threshold=-threshold),
        minimum_detectable=detectable_binary(n, discordant_rate=rate, threshold=threshold, alpha=alpha),
        test=_binary_test(n, threshold),
    )


def _binary_test(n: int, threshold: float) -> str:
    """Return what the test of paired 0/1 items is called."""
    if threshold == 0:
        return "exact McNemar"
    return "score test" if n > EXACT_ITEMS else "exact unconditional score test"


def paired_binary_p(gains: int, losses: int, n: int, *, threshold: float) -> float:
    """Return the exact one-sided p-value of H0 "P(gain) - P(loss) <= threshold" for paired 0/1 items.

    Args:
        gains: items wrong before and right now.
        losses: items right before and wrong now.
        n: all items.
        threshold: 0 gives exact McNemar (McNemar 1947, conditional on the discordant items). Elsewhere the p-value is
            the worst case over the discordance rate of the tail of Tango's score statistic
            (Hsueh, Liu & Chen 2001, Biometrics 57:478); above EXACT_ITEMS items the statistic's normal limit.
    """
    if threshold == 0:
        return float(stats.binom.sf(gains - 1, gains + losses, 0.5))
    score = float(_score(np.array([gains]), np.array([losses]), n, threshold)[0])
    return float(stats.norm.sf(score)) if n > EXACT_ITEMS else _worst_tail(n, score, threshold)


def score_interval(gains: int, losses: int, n: int, *, confidence: float) -> tuple[float, float]:
    """Return Tango's score interval of P(gain) - P(loss) (Tango 1998, Statistics in Medicine 17:891)."""
    limit = float(stats.norm.ppf(0.5 + confidence / 2))
    middle = (gains - losses) / n

    def bound(outer: float, sign: float) -> float:
        inner = middle
        for _ in range(60):
            centre = (inner + outer) / 2
            z = sign * float(_score(np.array([gains]), np.array([losses]), n, centre)[0])
            inner, outer = (centre, outer) if z < limit else (inner, centre)
        return inner

    return bound(-1.0, 1.0), bound(1.0, -1.0)


def binomial_floor(values: Sequence[float], *, floor: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return (p-value of H0 "true share <= floor", Clopper-Pearson low, high) for 0/1 items of one hop."""
    result = stats.binomtest(int(sum(values)), len(values), floor, alternative="greater")
    two_sided = stats.binomtest(int(sum(values)), len(values), floor).proportion_ci(confidence, method="exact")
    return float(result.pvalue), float(two_sided.low), float(two_sided.high)


def paired_binary_levels(gains: Floats, losses: Floats, n: int, *, threshold: float, levels: Sequence[float]) -> Floats:
    """Return `paired_binary_p` of many outcomes at once, rounded up to the next of `levels` (1 above the largest).

    Decisions at these levels are the exact test's: its p-value falls with the score, so a level's edge is found by
    bisection over the scores that occur.

    Args:
        gains: items wrong before and right now, one entry an outcome.
        losses: items right before and wrong now.
        n: all items.
        threshold: improvement of the null hypothesis.
        levels: levels somebody decides at, each within (0, 1).
    """
    if threshold == 0:
        exact = stats.binom.sf(gains - 1, gains + losses, 0.5)
    elif n > EXACT_ITEMS:
        exact = stats.norm.sf(_score(gains, losses, n, threshold))
    else:
        return _score_levels(_score(gains, losses, n, threshold), n, threshold, levels)
    return _rounded_up(np.asarray(exact, dtype=np.float64), levels)


def _score_levels(scores: Floats, n: int, threshold: float, levels: Sequence[float]) -> Floats:
    """Return, for each score, the smallest level its exact p-value is within; 1 for none."""
    occurring = np.unique(scores)
    tail = cache(lambda index: _worst_tail(n, float(occurring[index]), threshold))
    found = np.ones(len(scores))
    for level in sorted(levels, reverse=True):
        low, high = 0, len(occurring)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if tail(middle) <= level else (middle + 1, high)
        if low < len(occurring):
            found[scores >= occurring[low]] = level
    return found


def _rounded_up(p_values: Floats, levels: Sequence[float]) -> Floats:
    """Return each p-value as the smallest level it is within; 1 for none."""
    ordered = np.append(np.sort(np.asarray(levels, dtype=np.float64)), 1.0)
    rounded: Floats = ordered[np.minimum(np.searchsorted(ordered, p_values), len(ordered) - 1)]
    return rounded


def detectable_binary(n: int, *, discordant_rate: float, threshold: float, alpha: float, power: float = POWER) -> float:
    """Return the distance from the threshold found with `power` by `paired_binary_p` at `alpha`: by bisection.

    Exact up to EXACT_POWER_ITEMS items; above, the rejection region is that of the statistic's normal limit.

    Args:
        n: number of pairs.
        discordant_rate: share of items expected to differ; raised to |difference| where that is larger.
        threshold: improvement of the null hypothesis.
        alpha: one-sided level.
        power: chance of finding it.

    Returns:
        The distance; 1 - threshold (the largest there is) where even that is not found.
    """
    least = _least_gains(n, _rejection(n, threshold, alpha))
    low, high = 0.0, 1.0 - threshold
    for _ in range(30):
        middle = (low + high) / 2
        enough = binary_power(least, n, threshold + middle, discordant_rate) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def binary_power(least: Floats, n: int, difference: float, discordant_rate: float) -> float:
    """Return the chance that gains reach `least[losses]` when P(gain) - P(loss) is `difference`."""
    rate = min(1.0, max(discordant_rate, abs(difference)))
    return float(_tail(least, n, np.array([(rate - difference) / 2]), np.array([(rate + difference) / 2]))[0])


def _score(gains: Any, losses: Any, n: int, threshold: float) -> Floats:
    """Return Tango's score statistic of H0 "P(gain) - P(loss) = threshold", elementwise."""
    gains, losses = np.asarray(gains, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    linear = -gains - losses + (2 * n - gains + losses) * threshold
    constant = -losses * threshold * (1 - threshold)
    loss_rate = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * (2 * loss_rate + threshold * (1 - threshold))
    excess = gains - losses - n * threshold
    safe = np.where(variance > TOLERANCE, variance, 1.0)
    at_edge = np.where(np.abs(excess) > TOLERANCE, np.sign(excess) * 1e6, 0.0)
    score: Floats = np.where(variance > TOLERANCE, excess / np.sqrt(safe), at_edge)
    return score


def _rejection(n: int, threshold: float, alpha: float) -> Rejects:
    """Return the test's decision as a function of (gains, losses)."""
    if threshold == 0:
        return lambda gains, losses: stats.binom.sf(gains - 1, gains + losses, 0.5) <= alpha
    if n > EXACT_POWER_ITEMS:
        limit = float(stats.norm.isf(alpha))
        return lambda gains, losses: _score(gains, losses, n, threshold) >= limit
    critical = _critical_score(n, threshold, alpha) - TOLERANCE
    return lambda gains, losses: _score(gains, losses, n, threshold) >= critical


@lru_cache(maxsize=1024)
def _critical_score(n: int, threshold: float, alpha: float) -> float:
    """Return the least score whose exact p-value is within alpha; the same few are asked again and again."""
    low, high = 0.0, 12.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _worst_tail(n, middle, threshold) <= alpha else (middle, high)
    return high


@lru_cache(maxsize=4096)
def _worst_tail(n: int, observed: float, threshold: float) -> float:
    """Return the largest P(score >= observed) over the discordance rates that H0 allows."""
    least = _least_gains(n, lambda gains, losses: _score(gains, losses, n, threshold) >= observed - TOLERANCE)
    loss_rates = np.linspace(max(0.0, -threshold), (1 - threshold) / 2, NUISANCE_POINTS)
    return float(min(1.0, _tail(least, n, loss_rates, loss_rates + threshold).max()))


def _least_gains(n: int, rejects: Rejects) -> Floats:
    """Return, for each number of losses 0..n, the least gains at which `rejects` holds (n - losses + 1: never).

    Both tests are monotone in the gains (Barnard's condition), so bisection finds the edge: O(n log n).
    """
    losses = np.arange(n + 1, dtype=np.float64)
    low, high = np.zeros(n + 1), n - losses + 1
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        reject = rejects(middle, losses)
        low, high = np.where(~reject & (low < high), middle + 1, low), np.where(reject & (low < high), middle, high)
    return low


def _tail(least: Floats, n: int, loss_rates: Floats, gain_rates: Floats) -> Floats:
    """Return P(gains >= least[losses]) for each pair of rates, losses and gains being trinomial."""
    losses = np.arange(n + 1)
    chance = stats.binom.pmf(losses[None, :], n, loss_rates[:, None])
    rest = np.maximum(1 - loss_rates, TOLERANCE)
    share = np.clip(gain_rates / rest, 0.0, 1.0)
    tails = stats.binom.sf(least[None, :] - 1, (n - losses)[None, :], share[:, None])
    tail: Floats = (chance * tails).sum(axis=1)
    return tail
