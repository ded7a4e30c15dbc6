"""What the items say about one rule, before the family of rules is adjusted."""

import math
from dataclasses import dataclass, replace
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import ChampionRule, GateParams, GateRule
from tasks.evaluation.statistics.binary import binomial_floor, compare_binary
from tasks.evaluation.statistics.comparison import Comparison, holm
from tasks.evaluation.statistics.continuous import compare_continuous, detectable_continuous
from tasks.gate.evidence import METRICS, Key, Metric, Report

#: Decimals kept in verdict.json: below them lies only the order of additions.
DECIMALS = 6
#: Items and groups that a verdict names.
NAMED = 10
Rule = GateRule | ChampionRule
Moved = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What the items say about one rule, before the family is adjusted.

    Args:
        rule: the rule.
        metric: what it asks for.
        n: number of paired items.
        base_value: mean at hop `from` (None for a floor).
        value: mean at hop `to`.
        difference: value - base_value, or value - margin for a floor: in the metric's own direction.
        interval: two-sided interval of the difference at 1 - 2 alpha: it agrees with the one-sided tests.
        line: where the rule's line is on the same scale as the difference.
        p_value: of "the claim is false"; small shows the claim.
        p_opposite: of "the claim is true"; small shows the contrary.
        minimum_detectable: distance from the line that the items show with 80 % power.
        test: name of the test.
        items: the items that moved most against the claim, worst first.
        groups: for a rule over groups, each group's own numbers, worst first.
    """

    rule: Rule
    metric: Metric
    n: int
    base_value: float | None
    value: float
    difference: float
    interval: tuple[float, float]
    line: float
    p_value: float
    p_opposite: float
    minimum_detectable: float
    test: str
    items: tuple[dict[str, Any], ...] = ()
    groups: tuple[dict[str, Any], ...] = ()

    @property
    def measured(self) -> bool:
        """Whether every number is finite: a NaN anywhere measures nothing."""
        return math.isfinite(self.difference)

    @property
    def gain_to_line(self) -> float:
        """How far the value is on the right side of the line (negative: on the wrong side)."""
        return self.metric.sign * (self.difference - self.line)


def examine(rule: Rule, params: GateParams, reports: dict[str, Report]) -> Finding:
    """Compare the two hops of one rule item by item.

    Raises:
        ConfigError: the rule looks at a hop that was not asked the suites.
        DataContractError: the metric of a blocking rule has no items, or fewer than two.
    """
    metric = METRICS[rule.metric]
    source, target = (_asked(rule, reports[hop]) for hop in rule.hops)
    keys = target.keys_of(metric)
    if len(keys) < 2:
        return _unasked(rule, metric, len(keys))
    old, new = source.values(keys), target.values(keys)
    if not all(map(math.isfinite, old + new)):
        return _unmeasured(rule, metric, len(keys))
    if rule.expect == "groups":
        return _examine_groups(rule, metric, params, [target.group(key) for key in keys], old, new)
    found = (
        _examine_floor(rule, metric, params, new)
        if rule.expect == "floor"
        else _examine_pair(rule, metric, params, old, new)
    )
    return replace(found, items=_moved(rule, metric, keys, old, new))


def level(rule: Rule, params: GateParams) -> float:
    """Return the error rate a rule is judged at."""
    return params.alpha if rule.alpha is None else rule.alpha


def _asked(rule: Rule, report: Report) -> Report:
    """Return a report after checking that its hop was asked the suites."""
    if not report.full:
        raise ConfigError(
            f"rule {rule.name} looks at hop {report.hop}, which was asked for agreement alone",
            f"set evaluate.{report.hop}: full in params.yaml, or take {report.hop} out of the rule's hops",
        )
    return report


def _unasked(rule: Rule, metric: Metric, n: int) -> Finding:
    """Return the finding of a rule without items; a blocking one cannot be left so.

    Raises:
        DataContractError: the rule blocks.
    """
    if rule.severity == "block":
        raise DataContractError(
            f"rule {rule.name}: hop {rule.hops[1]} has {n} item(s) of {rule.metric}, at least 2 are needed",
            "add items to the evaluation pack, or raise evaluate.*.limit in params.yaml",
        )
    nan = math.nan
    return Finding(rule, metric, n, nan, nan, nan, (nan, nan), nan, 1.0, 1.0, nan, "none")


def _moved(rule: Rule, metric: Metric, keys: list[Key], old: list[float], new: list[float]) -> tuple[Moved, ...]:
    """Return the items that lost most; for a floor, the items on its wrong side."""
    lost = [metric.sign * (after - before) for before, after in zip(old, new, strict=True)]
    if rule.expect == "floor":
        line = 1.0 if metric.kind == "accuracy" else rule.margin
        lost = [metric.sign * (after - line) for after in new]
    worst = sorted((loss, key, index) for index, (loss, key) in enumerate(zip(lost, keys, strict=True)) if loss < 0)
    paired = rule.expect != "floor"
    return tuple(
        {"item": "/".join(key), "base_value": rounded(old[index]) if paired else None, "value": rounded(new[index])}
        for _, key, index in worst[:NAMED]
    )


def _examine_groups(
    rule: Rule, metric: Metric, params: GateParams, names: list[str], old: list[float], new: list[float]
) -> Finding:
    """Hold every group (subject, concept) to the rule's line: against hop `from`, or to a floor where both are one hop.

    "No group is worse than the line" is shown only where it is shown of each group, so the largest p-value is the
    claim's (an intersection-union test, Berger 1982: no adjustment needed); "some group is worse" is shown where Holm's
    adjusted p-value of any group is small, which is where the number of groups counts.
    """
    asked = rule.model_copy(update={"expect": "floor" if rule.hops[0] == rule.hops[1] else "not_worse"})
    found = []
    for name in sorted(set(names)):
        sides = [[value for value, group in zip(side, names, strict=True) if group == name] for side in (old, new)]
        found.append((name, _examine_group(asked, metric, params, *sides)))
    opposite = holm([group.p_opposite for _, group in found])
    order = sorted(range(len(found)), key=lambda index: (opposite[index], -found[index][1].p_value, found[index][0]))
    worst = found[order[0]][1]
    return replace(
        worst,
        rule=rule,
        n=len(new),
        p_value=max(group.p_value for _, group in found),
        p_opposite=min(opposite),
        test=f"{worst.test}, each of {len(found)} groups",
        groups=tuple(_group_row(*found[index], opposite[index]) for index in order),
    )


def _examine_group(rule: Rule, metric: Metric, params: GateParams, old: list[float], new: list[float]) -> Finding:
    """Compare one group; a single item shows nothing."""
    if len(new) < 2:
        line = rule.margin if rule.expect == "floor" else old[0]
        return Finding(rule, metric, 1, line, new[0], new[0] - line, (math.nan,) * 2, 0.0, 1.0, 1.0, math.nan, "none")
    if rule.expect != "floor":
        return _examine_pair(rule, metric, params, old, new)
    floor = _examine_floor(rule, metric, params, new)
    # A group is a sample of its subject, not a list of named requirements: below its floor has to be shown as well.
    below = _below_floor(metric, params, rule, new)
    return replace(floor, p_opposite=below, base_value=rule.margin)


def _below_floor(metric: Metric, params: GateParams, rule: Rule, values: list[float]) -> float:
    """Return the p-value of "the true value is on the right side of the floor"."""
    if metric.kind == "accuracy":
        return binomial_floor([1 - value for value in values], floor=1 - rule.margin)[0]
    return _honest(_compare(metric, params, rule, [rule.margin] * len(values), values, 0.0).p_opposite, len(values))


def _group_row(name: str, found: Finding, p_opposite_adjusted: float) -> dict[str, Any]:
    """Return one group as verdict.json keeps it."""
    return {
        "group": name,
        "n": found.n,
        "base_value": rounded(found.base_value),
        "value": rounded(found.value),
        "difference": rounded(found.difference),
        "p_value": rounded(found.p_value),
        "p_opposite_adjusted": rounded(p_opposite_adjusted),
        "minimum_detectable": rounded(found.minimum_detectable),
    }


def _examine_pair(rule: Rule, metric: Metric, params: GateParams, old: list[float], new: list[float]) -> Finding:
    """Compare two hops against the rule's line."""
    threshold = rule.margin if rule.expect == "better" else -rule.margin
    found = _compare(metric, params, rule, old, new, threshold)
    sign = metric.sign
    return Finding(
        rule=rule,
        metric=metric,
        n=found.n,
        base_value=sign * found.base_value,
        value=sign * found.value,
        difference=sign * found.difference,
        interval=_ordered(*(sign * end for end in found.interval)),
        line=sign * threshold,
        p_value=_honest(found.p_value, found.n),
        p_opposite=_honest(found.p_opposite, found.n),
        minimum_detectable=found.minimum_detectable,
        test=found.test,
    )


def _compare(
    metric: Metric, params: GateParams, rule: Rule | None, old: list[float], new: list[float], threshold: float
) -> Comparison:
    """Run the metric's paired test on gains (higher is better)."""
    alpha = params.alpha if rule is None else level(rule, params)
    confidence = 1 - 2 * alpha
    if metric.kind == "accuracy":
        return compare_binary(old, new, threshold=threshold, alpha=alpha, confidence=confidence)
    return compare_continuous(
        [metric.sign * value for value in old],
        [metric.sign * value for value in new],
        threshold=threshold,
        alpha=alpha,
        samples=params.bootstrap_samples,
        seed=params.seed,
        confidence=confidence,
    )


def _honest(p_value: float, n: int) -> float:
    """Return a p-value no smaller than n pairs can give: even if all agree, chance alone does so once in 2^n."""
    return max(p_value, 0.5**n)


def _examine_floor(rule: Rule, metric: Metric, params: GateParams, values: list[float]) -> Finding:
    """Hold the value of one hop to the rule's floor (a ceiling where lower is better)."""
    n, mean = len(values), sum(values) / len(values)
    if metric.kind != "accuracy":
        against = _compare(metric, params, rule, [rule.margin] * n, values, 0.0)
        low, high = _ordered(*(metric.sign * end for end in against.interval))
        p_value, detectable, test = (
            _honest(against.p_value, n),
            against.minimum_detectable,
            f"one-sample {against.test}",
        )
    else:
        p_value, low, high = binomial_floor(values, floor=rule.margin, confidence=1 - 2 * level(rule, params))
        low, high = low - rule.margin, high - rule.margin
        detectable = detectable_continuous(n, math.sqrt(rule.margin * (1 - rule.margin)), alpha=level(rule, params))
        test = "exact binomial"
    met = metric.sign * (mean - rule.margin) >= 0
    if metric.kind == "accuracy" and rule.margin == 1:
        p_value, detectable, test = (0.0 if met else 1.0), 0.0, "census of the named items"
    return Finding(
        rule=rule,
        metric=metric,
        n=n,
        base_value=None,
        value=mean,
        difference=mean - rule.margin,
        interval=(low, high),
        line=0.0,
        p_value=p_value,
        p_opposite=1.0 if met else 0.0,
        minimum_detectable=detectable,
        test=test,
    )


def _unmeasured(rule: Rule, metric: Metric, n: int) -> Finding:
    """Return the finding of a rule whose items hold a value that is no number."""
    nan = math.nan
    return Finding(rule, metric, n, nan, nan, nan, (nan, nan), nan, nan, nan, nan, "none")


def _ordered(first: float, second: float) -> tuple[float, float]:
    """Return two ends as low and high (turning the sign swaps them)."""
    return min(first, second), max(first, second)


def rounded(value: float | None) -> float | None:
    """Return a number as verdict.json keeps it, None for what is no number."""
    return round(value, DECIMALS) if value is not None and math.isfinite(value) else None


def estimate(metric: Metric, params: GateParams, values: list[float]) -> dict[str, Any]:
    """Return {"value", "interval"} of one hop by itself; nulls where a value is no number or stands alone."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return {"value": None, "interval": [None, None]}
    if metric.kind == "accuracy":
        _, low, high = binomial_floor(values, floor=0.5, confidence=1 - 2 * params.alpha)
        return {"value": rounded(sum(values) / len(values)), "interval": [rounded(low), rounded(high)]}
    found = _compare(metric, params, None, [0.0] * len(values), values, 0.0)
    low, high = _ordered(*(metric.sign * end for end in found.interval))
    return {"value": rounded(metric.sign * found.value), "interval": [rounded(low), rounded(high)]}
