"""Continuous items: the studentized paired bootstrap."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from tasks.evaluation.statistics.comparison import POWER, TOLERANCE, Comparison, Floats, paired

#: Pivot of a bootstrap sample that has no error of its own: beyond every observation.
BEYOND = 1e100
#: Bootstrap indices drawn at a time (bounds memory at large item counts).
CHUNK_ELEMENTS = 4_000_000


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
    old, new = paired(base, value)
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
