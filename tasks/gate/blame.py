"""Where on the way a value was lost: the gain of each step between two hops."""

import itertools

from tasks.core.layout import HOPS
from tasks.gate.evidence import Metric, Report, asked
from tasks.gate.findings import rounded


def lost_at(metric: Metric, hops: list[str], reports: dict[str, Report]) -> dict[str, float]:
    """Return the mean gain (higher is better) of every step from one hop to another, by the hop a step leads to.

    What training and merging did together is told apart only where the adapter was asked everything; else the loss of
    that step stands at the adapter, and another check says whether the merge kept what the adapter does.

    Args:
        metric: what is looked at.
        hops: from, to.
        reports: all hops.

    Returns:
        {hop: gain}; empty for a floor, for other sides than hops, and where a value is no number.
    """
    if hops[0] == hops[1] or not set(hops) <= set(HOPS):
        return {}
    way = asked(reports)
    way = way[way.index(hops[0]) : way.index(hops[1]) + 1]
    keys = reports[hops[1]].keys_of(metric)
    if not keys:
        return {}
    means = {hop: sum(reports[hop].values(keys)) / len(keys) for hop in way}
    steps = {}
    for before, after in itertools.pairwise(way):
        gain = rounded(metric.sign * (means[after] - means[before]))
        if gain is None:
            return {}
        steps["adapter" if (before, after) == ("base", "merged") else after] = gain
    return steps
