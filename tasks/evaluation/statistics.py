"""Paired statistics of two hops on the same items: p-values against a threshold, intervals, Holm, detectable effect.

Every difference is an *improvement* (new minus old, sign turned by the caller where lower is better), and every test is
one-sided: H0 "improvement <= threshold". `better by margin` has threshold +margin, `not worse by more than margin` has
threshold -margin. Pure numpy and scipy; the bootstrap is seeded.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Rejects = Callable[[Floats, Floats], NDArray[np.bool_]]

#: Pivot of a bootstrap sample that has no error of its own: beyond every observation.
BEYOND = 1e100
#: Points on which the unknown discordance rate is searched for the worst case of the exact unconditional test.
NUISANCE_POINTS = 201
#: Items up to which p-values are exact: beyond, the worst case over the nuisance takes seconds, and the statistic's
#: normal limit differs from it in the fourth decimal.
EXACT_ITEMS = 5000
#: Items up to which the detectable effect is exact; it is what a reader plans by, not what is judged.
EXACT_POWER_ITEMS = 400
#: Bootstrap indices drawn at a time (bounds memory at large item counts).
CHUNK_ELEMENTS = 4_000_000
TOLERANCE = 1e-9
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """One paired comparison.

    Args:
        n: number of paired items.
        base_value: mean of the old hop.
        value: mean of the new hop.
        difference: value - base_value.
        interval: two-sided confidence interval of the difference.
        p_value: of H0 "difference <= threshold"; small means: above the threshold.
        p_opposite: of H0 "difference >= threshold"; small means: below the threshold.
        minimum_detectable: smallest distance of the true difference from the threshold that this test finds with
            80 % power; above the margin asked it means: too few items.
        test: name of the test used.
    """

    n: int
    base_value: float
    value: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_opposite: float
    minimum_detectable: float
    test: str


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
    old, new = _paired(base, value)
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


def compare_continuous(
    base: Sequence[float],
    value: Sequence[float],
    *,
    threshold: float,
    alpha: float,
    samples: int,
    seed: int,
    confidence: float = 0.95,
) -> Comparison:
    """Compare continuous items by the studentized paired bootstrap (Efron & Tibshirani 1993, chapter 16).

    Args:
        base: value per item at the old hop, higher is better, length n >= 2.
        value: value per item at the new hop, in the same order.
        threshold: the improvement of the null hypothesis.
        alpha: one-sided level for the minimum detectable effect.
        samples: number of bootstrap samples.
        seed: of the generator; the same seed gives the same numbers.
        confidence: level of the two-sided interval (bootstrap-t).

    Raises:
        ValueError: lengths differ, fewer than two items, or a value is not finite.
    """
    old, new = _paired(base, value)
    differences = new - old
    mean, error = float(differences.mean()), _standard_error(differences)
    pivots = _bootstrap_pivots(differences, samples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(pivots, [tail, 1 - tail])
    observed = (mean - threshold) / error if error > 0 else mean - threshold  # no spread: only the side counts
    return Comparison(
        n=len(old),
        base_value=float(old.mean()),
        value=float(new.mean()),
        difference=mean,
        interval=(_end(mean, float(high), error), _end(mean, float(low), error)),
        p_value=_share_beyond(pivots, observed, error),
        p_opposite=_share_beyond(-pivots, -observed, error),
        minimum_detectable=detectable_continuous(len(old), error * np.sqrt(len(old)), alpha=alpha),
        test="studentized paired bootstrap",
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


def bootstrap_p_values(differences: Floats, thresholds: Sequence[float], samples: int, seed: int) -> list[float]:
    """Return the p-value of H0 "improvement <= threshold" for each threshold, as `compare_continuous` has it.

    Args:
        differences: new minus old per item, higher is better, length n >= 2.
        thresholds: improvements of the null hypothesis.
        samples: number of bootstrap samples, drawn once for all thresholds.
        seed: of the generator.
    """
    mean, error = float(differences.mean()), _standard_error(differences)
    pivots = _bootstrap_pivots(differences, samples, seed)
    return [_share_beyond(pivots, (mean - at) / error if error > 0 else mean - at, error) for at in thresholds]


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[int(index)] = running
    return adjusted


def detectable_continuous(n: int, deviation: float, *, alpha: float, power: float = POWER) -> float:
    """Return the distance from the threshold found with `power` by a one-sided paired test at `alpha`.

    Args:
        n: number of pairs, at least 2.
        deviation: standard deviation of the paired differences.
        alpha: one-sided level.
        power: chance of finding it.
    """
    quantiles = stats.t.ppf(1 - alpha, n - 1) + stats.t.ppf(power, n - 1)
    return float(quantiles * deviation / np.sqrt(n))


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


def _paired(base: Sequence[float], value: Sequence[float]) -> tuple[Floats, Floats]:
    """Return both sides as arrays after checking that they pair up."""
    old, new = np.asarray(base, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 1 or len(old) < 2:
        raise ValueError(f"paired items need two equal lists of at least 2 values, got {old.shape} and {new.shape}")
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        raise ValueError("a value is not finite")
    return old, new


def _standard_error(differences: Floats) -> float:
    """Return the standard error of the mean; rounding noise of identical differences counts as zero."""
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return error if error > TOLERANCE * max(1.0, float(np.abs(differences).max())) else 0.0


def _bootstrap_pivots(differences: Floats, samples: int, seed: int) -> Floats:
    """Return (mean* - mean) / error* of each bootstrap sample, shape (samples,)."""
    generator = np.random.default_rng(seed)
    n, mean = len(differences), differences.mean()
    rows_at_once = max(1, CHUNK_ELEMENTS // n)
    pivots = []
    for start in range(0, samples, rows_at_once):
        rows = min(rows_at_once, samples - start)
        drawn = differences[generator.integers(0, n, size=(rows, n))]
        shift, error = drawn.mean(axis=1) - mean, drawn.std(axis=1, ddof=1) / np.sqrt(n)
        # A sample of one repeated value has no error of its own: beyond every observation unless it sits on the mean.
        flat = np.where(np.abs(shift) > TOLERANCE, np.sign(shift) * BEYOND, 0.0)
        pivots.append(np.where(error > TOLERANCE, shift / np.where(error > TOLERANCE, error, 1.0), flat))
    return np.concatenate(pivots)


def _end(mean: float, quantile: float, error: float) -> float:
    """Return one end of a bootstrap-t interval; infinite where too few items differ for an end to be told."""
    # A quantile may fall between such a pivot and a finite one: any share of it is still beyond every observation.
    unknown = abs(quantile) >= math.sqrt(BEYOND)
    return -math.copysign(math.inf, quantile) if unknown else mean - quantile * error


def _share_beyond(pivots: Floats, observed: float, error: float) -> float:
    """Return the bootstrap p-value (never 0: the observation itself counts)."""
    beyond = int((pivots >= observed).sum()) if error > 0 else (0 if observed > 0 else len(pivots))
    return (beyond + 1) / (len(pivots) + 1)


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
