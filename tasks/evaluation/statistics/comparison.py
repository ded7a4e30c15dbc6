"""What one paired comparison found, and p-values adjusted for their family."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[int(index)] = running
    return adjusted


def paired(base: Sequence[float], value: Sequence[float]) -> tuple[Floats, Floats]:
    """Return both sides as arrays after checking that they pair up."""
    old, new = np.asarray(base, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 1 or len(old) < 2:
        raise ValueError(f"paired items need two equal lists of at least 2 values, got {old.shape} and {new.shape}")
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        raise ValueError("a value is not finite")
    return old, new
