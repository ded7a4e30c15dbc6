"""E-values for two shares that are compared while they are being counted.

A block holds the requests of the same minutes: `n_l` that the live version answered and `n_c` that the candidate did,
each a 0 or a 1. For a convex null set of rates (p_l, p_c), and an alternative (q_l, q_c) fixed before the block,

    E = likelihood of the block under (q_l, q_c) / likelihood under (r_l, r_c),

where (r_l, r_c) is the point of the null nearest to the alternative in Kullback-Leibler divergence, the arms weighed by
n_l and n_c. Its mean is at most 1 under every point of the null. For one request of an arm the mean of the ratio is
1 - (p - r) g, with g the divergence's derivative at r; r is a minimum over a convex set, so n_l (p_l - r_l) g_l +
n_c (p_c - r_c) g_c >= 0, and by log(1 - x) <= -x the mean of the product is at most 1. The product of E over blocks is
therefore a supermartingale whatever the rates do from one block to the next, as long as each pair of them is in the
null; by Ville's inequality it ever reaches 1/a with probability at most a, however often somebody looks.

Where the two arms get the same question (shadow), outcomes of a pair lean the same way; E then rises in one arm and
falls in the other, and its mean is smaller still.

Source: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping" (2022, arXiv:2106.02693); Turner, Grünwald, "Exact anytime-valid confidence intervals for contingency tables
and beyond" (2023, arXiv:2203.09785) for convex nulls.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Rates stay this far from 0 and 1: one surprise must not end a process for good.
EDGE = 1e-4
#: Halvings of an interval of length 1: below what a float can tell.
HALVINGS = 50


def nearest_equal(live: Floats, canary: Floats, n_live: Floats, n_canary: Floats) -> Floats:
    """Return the common rate nearest to an alternative: the mean of the two, weighed by the requests.

    Args:
        live, canary: the alternative's rates; all arguments broadcast.
        n_live, n_canary: requests of the block; not both 0.
    """
    mean: Floats = (n_live * live + n_canary * canary) / (n_live + n_canary)
    return mean


def nearest_shifted(live: Floats, canary: Floats, n_live: Floats, n_canary: Floats, shift: Floats) -> Floats:
    """Return the live rate r whose pair (r, r + shift) is nearest to an alternative with canary < live + shift.

    The divergence is convex along the line, and its derivative changes its sign between canary - shift and live.

    Args:
        live, canary: the alternative's rates; all arguments broadcast.
        n_live, n_canary: requests of the block; not both 0.
        shift: from the live rate to the canary's, above 0 and below 1.
    """
    low = np.maximum(canary - shift, EDGE)
    high = np.maximum(np.minimum(live, 1 - shift - EDGE), low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shifted = middle + shift
        slope = n_live * (middle - live) / (middle * (1 - middle))
        slope = slope + n_canary * (shifted - canary) / (shifted * (1 - shifted))
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return np.asarray((low + high) / 2)


def log_ratio(hits: Floats, n: Floats, alternative: Floats, null: Floats) -> Floats:
    """Return the log of an arm's likelihood ratio.

    Args:
        hits, n: ones among its requests; all arguments broadcast.
        alternative, null: its rate under either, strictly between 0 and 1.
    """
    ones: Floats = hits * np.log(alternative / null)
    return ones + (n - hits) * np.log((1 - alternative) / (1 - null))
