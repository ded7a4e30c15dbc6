"""The gate's rules: each is one claim about a metric at two hops, shown, refuted or left open by a paired test.

A rule draws a line on the *gain* of hop `to` over hop `from` (the difference, sign turned where lower is better):

    better     the gain is more than  +margin      line at +margin
    not_worse  the loss is less than   margin      line at -margin
    floor      the value at `to` itself is on the right side of margin

and both sides of the line are tested one-sided at `alpha` on the same items (tasks/evaluation/statistics.py):

    PASS          the claim is shown:      the gain is significantly above the line
    FAIL          the contrary is shown:   the gain is significantly below the line
    INCONCLUSIVE  neither is shown:        too few items, or the truth is too near to the line

so a set that is too small can never PASS by silence. Over the blocking rules both p-values are adjusted by Holm: the
chance that a run in which every claim is exactly at its line is failed, by any rule, is at most `alpha`; so is the
chance that any rule passes wrongly. Rules that only report stay unadjusted.

A floor is harder on one side: a value on the wrong side of it is FAIL without a test, because the items are named
requirements and no average buys one back; PASS still has to be shown. Where the floor is the best value there is (all
items right), nothing can be shown beyond it: the rule is then a census of the named items.
"""

import math
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import GateParams, GateRule
from tasks.evaluation.statistics import (
    Comparison,
    binomial_floor,
    compare_binary,
    compare_continuous,
    detectable_continuous,
    holm,
)
from tasks.release.gate_evidence import METRICS, Metric, Report

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"

#: Decimals kept in verdict.json: below them lies only the order of additions.
DECIMALS = 6


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
    """

    rule: GateRule
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

    @property
    def measured(self) -> bool:
        """Whether every number is finite: a NaN anywhere measures nothing."""
        return math.isfinite(self.difference)

    @property
    def gain_to_line(self) -> float:
        """How far the value is on the right side of the line (negative: on the wrong side)."""
        return self.metric.sign * (self.difference - self.line)


def check_rules(params: GateParams) -> None:
    """Refuse rules that cannot be asked.

    Raises:
        ConfigError: an unknown metric, a name used twice, a hop compared with itself, a margin out of range, or no
            blocking rule (everything would pass); all of them at once.
    """
    names = [rule.name for rule in params.rules]
    problems = [
        f"gate.rules: the name {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if not any(rule.severity == "block" for rule in params.rules):
        problems.append("gate.rules: no rule has severity block; everything would pass")
    for index, rule in enumerate(params.rules):
        problems += [f"gate.rules.{index} ({rule.name}): {problem}" for problem in _problems(rule)]
    if problems:
        raise ConfigError(
            "\n".join(["params.yaml: rules that cannot be asked", *(f"  {p}" for p in problems)]),
            "edit gate.rules in params.yaml and run again",
        )


def _problems(rule: GateRule) -> list[str]:
    """Return what is wrong with one rule."""
    problems = []
    metric = METRICS.get(rule.metric)
    if metric is None:
        problems.append(f"unknown metric {rule.metric!r}; one of: {', '.join(METRICS)}")
    if rule.expect == "floor" and rule.hops[0] != rule.hops[1]:
        problems.append("a floor looks at one hop: write it twice in hops")
    if rule.expect != "floor" and rule.hops[0] == rule.hops[1]:
        problems.append(f"{rule.hops[0]} is compared with itself")
    if rule.margin < 0:
        problems.append(f"margin {rule.margin} is negative; the direction is in `expect`")
    if metric and metric.kind == "accuracy" and not (rule.margin < 1 or (rule.expect == "floor" and rule.margin == 1)):
        problems.append(f"margin {rule.margin} is out of range: accuracy is a share between 0 and 1")
    return problems


def judge_rules(params: GateParams, reports: dict[str, Report]) -> list[dict[str, Any]]:
    """Return each rule with its numbers and its outcome, in the order of params.yaml.

    Raises:
        DataContractError: a metric has no items, or fewer than two.
    """
    findings = [examine(rule, params, reports) for rule in params.rules]
    family = [found for found in findings if found.rule.severity == "block" and found.measured]
    shown = dict(zip((found.rule.name for found in family), holm([found.p_value for found in family]), strict=True))
    refuted = dict(
        zip((found.rule.name for found in family), holm([found.p_opposite for found in family]), strict=True)
    )
    judged = []
    for found in findings:
        p_adjusted = shown.get(found.rule.name, found.p_value)
        p_opposite_adjusted = refuted.get(found.rule.name, found.p_opposite)
        outcome = _outcome(found, p_adjusted, p_opposite_adjusted, params.alpha)
        judged.append(_plain(found, p_adjusted, p_opposite_adjusted, outcome, params.alpha))
    return judged


def examine(rule: GateRule, params: GateParams, reports: dict[str, Report]) -> Finding:
    """Compare the two hops of one rule item by item.

    Raises:
        DataContractError: the metric has no items, or fewer than two.
    """
    metric = METRICS[rule.metric]
    source, target = (reports[hop] for hop in rule.hops)
    keys = target.keys_of(metric)
    if len(keys) < 2:
        raise DataContractError(
            f"rule {rule.name}: hop {target.hop} has {len(keys)} item(s) of {rule.metric}, at least 2 are needed",
            "add items to the evaluation pack, or raise evaluate.*.limit in params.yaml",
        )
    old, new = source.values(keys), target.values(keys)
    if not all(map(math.isfinite, old + new)):
        return _unmeasured(rule, metric, len(keys))
    if rule.expect == "floor":
        return _examine_floor(rule, metric, params, new)
    return _examine_pair(rule, metric, params, old, new)


def _examine_pair(rule: GateRule, metric: Metric, params: GateParams, old: list[float], new: list[float]) -> Finding:
    """Compare two hops against the rule's line."""
    threshold = rule.margin if rule.expect == "better" else -rule.margin
    found = _compare(metric, params, old, new, threshold)
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


def _compare(metric: Metric, params: GateParams, old: list[float], new: list[float], threshold: float) -> Comparison:
    """Run the metric's paired test on gains (higher is better)."""
    confidence = 1 - 2 * params.alpha
    if metric.kind == "accuracy":
        return compare_binary(old, new, threshold=threshold, alpha=params.alpha, confidence=confidence)
    return compare_continuous(
        [metric.sign * value for value in old],
        [metric.sign * value for value in new],
        threshold=threshold,
        alpha=params.alpha,
        samples=params.bootstrap_samples,
        seed=params.seed,
        confidence=confidence,
    )


def _honest(p_value: float, n: int) -> float:
    """Return a p-value no smaller than n pairs can give: even if all agree, chance alone does so once in 2^n."""
    return max(p_value, 0.5**n)


def _examine_floor(rule: GateRule, metric: Metric, params: GateParams, values: list[float]) -> Finding:
    """Hold the value of one hop to the rule's floor (a ceiling where lower is better)."""
    n, mean = len(values), sum(values) / len(values)
    if metric.kind != "accuracy":
        against = _compare(metric, params, [rule.margin] * n, values, 0.0)
        low, high = _ordered(*(metric.sign * end for end in against.interval))
        p_value, detectable, test = (
            _honest(against.p_value, n),
            against.minimum_detectable,
            f"one-sample {against.test}",
        )
    else:
        p_value, low, high = binomial_floor(values, floor=rule.margin, confidence=1 - 2 * params.alpha)
        low, high = low - rule.margin, high - rule.margin
        detectable = detectable_continuous(n, math.sqrt(rule.margin * (1 - rule.margin)), alpha=params.alpha)
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


def _unmeasured(rule: GateRule, metric: Metric, n: int) -> Finding:
    """Return the finding of a rule whose items hold a value that is no number."""
    nan = math.nan
    return Finding(rule, metric, n, nan, nan, nan, (nan, nan), nan, nan, nan, nan, "none")


def _ordered(first: float, second: float) -> tuple[float, float]:
    """Return two ends as low and high (turning the sign swaps them)."""
    return min(first, second), max(first, second)


def _outcome(found: Finding, p_adjusted: float, p_opposite_adjusted: float, alpha: float) -> str:
    """Return PASS, FAIL or INCONCLUSIVE; what was not measured fails."""
    if not found.measured or p_opposite_adjusted <= alpha:
        return FAIL
    return PASS if p_adjusted <= alpha else INCONCLUSIVE


def _plain(found: Finding, p_adjusted: float, p_opposite_adjusted: float, outcome: str, alpha: float) -> dict[str, Any]:
    """Return a finding as it stands in verdict.json; numbers that are none become null."""
    rule = found.rule
    return {
        "name": rule.name,
        "metric": rule.metric,
        "title": found.metric.title,
        "title_zh": found.metric.title_zh,
        "hops": list(rule.hops),
        "expect": rule.expect,
        "margin": rule.margin,
        "severity": rule.severity,
        "lower_is_better": found.metric.sign < 0,
        "n": found.n,
        "base_value": rounded(found.base_value),
        "value": rounded(found.value),
        "difference": rounded(found.difference),
        "interval": [rounded(end) for end in found.interval],
        "confidence": rounded(1 - 2 * alpha),
        "line": rounded(found.line),
        "p_value": rounded(found.p_value),
        "p_adjusted": rounded(p_adjusted),
        "p_opposite": rounded(found.p_opposite),
        "p_opposite_adjusted": rounded(p_opposite_adjusted),
        "minimum_detectable": rounded(found.minimum_detectable),
        "items_needed": _items_needed(found) if outcome == INCONCLUSIVE else None,
        "test": found.test,
        "outcome": outcome,
    }


def rounded(value: float | None) -> float | None:
    """Return a number as verdict.json keeps it, None for what is no number."""
    return round(value, DECIMALS) if value is not None and math.isfinite(value) else None


def _items_needed(found: Finding) -> int | None:
    """Return about how many items would decide the rule if the value stays where it is; None where none would.

    The detectable distance shrinks with the square root of the number of items.
    """
    distance = abs(found.gain_to_line)
    if distance == 0 or found.minimum_detectable <= 0:
        return None
    return max(found.n + 1, math.ceil(found.n * (found.minimum_detectable / distance) ** 2))


def estimate(metric: Metric, params: GateParams, values: list[float]) -> dict[str, Any]:
    """Return {"value", "interval"} of one hop by itself; nulls where a value is no number or stands alone."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return {"value": None, "interval": [None, None]}
    if metric.kind == "accuracy":
        _, low, high = binomial_floor(values, floor=0.5, confidence=1 - 2 * params.alpha)
        return {"value": rounded(sum(values) / len(values)), "interval": [rounded(low), rounded(high)]}
    found = _compare(metric, params, [0.0] * len(values), values, 0.0)
    low, high = _ordered(*(metric.sign * end for end in found.interval))
    return {"value": rounded(metric.sign * found.value), "interval": [rounded(low), rounded(high)]}
