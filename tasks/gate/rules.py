"""The gate's rules: each is one claim about a metric at two hops, shown, refuted or left open by a paired test.

A rule draws a line on the *gain* of hop `to` over hop `from` (the difference, sign turned where lower is better):

    better     the gain is more than  +margin      line at +margin
    not_worse  the loss is less than   margin      line at -margin
    floor      the value at `to` itself is on the right side of margin
    groups     not_worse for every group (subject, concept) of the items; where both hops are one, a floor for each

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
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.settings import GateParams
from tasks.evaluation.statistics.comparison import holm
from tasks.gate.blame import lost_at
from tasks.gate.evidence import METRICS, Report
from tasks.gate.findings import NAMED, Finding, Rule, examine, level, rounded

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"


def check_rules(params: GateParams) -> None:
    """Refuse rules that cannot be asked.

    Raises:
        ConfigError: an unknown metric, a name used twice, a hop compared with itself, a margin out of range, or no
            blocking rule (everything would pass); all of them at once.
    """
    rules: list[Rule] = [*params.rules, *params.champion_rules]
    names = [rule.name for rule in rules]
    problems = [
        f"gate.rules: the name {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if not any(rule.severity == "block" for rule in params.rules):
        problems.append("gate.rules: no rule has severity block; everything would pass")
    for rule in rules:
        problems += [f"rule {rule.name}: {problem}" for problem in _problems(rule, params)]
    if problems:
        raise ConfigError(
            "\n".join(["params.yaml: rules that cannot be asked", *(f"  {p}" for p in problems)]),
            "edit gate.rules in params.yaml and run again",
        )


def _problems(rule: Rule, params: GateParams) -> list[str]:
    """Return what is wrong with one rule."""
    problems = []
    metric = METRICS.get(rule.metric)
    if metric is None:
        problems.append(f"unknown metric {rule.metric!r}; one of: {', '.join(METRICS)}")
    if rule.expect == "floor" and rule.hops[0] != rule.hops[1]:
        problems.append("a floor looks at one hop: write it twice in hops")
    if rule.expect not in ("floor", "groups") and rule.hops[0] == rule.hops[1]:
        problems.append(f"{rule.hops[0]} is compared with itself")
    if rule.margin < 0:
        problems.append(f"margin {rule.margin} is negative; the direction is in `expect`")
    if level(rule, params) > params.alpha:
        problems.append(f"alpha {rule.alpha} is looser than gate.alpha {params.alpha}; a rule may only be stricter")
    if (
        metric
        and metric.kind != "bits_per_byte"
        and not (rule.margin < 1 or (rule.expect == "floor" and rule.margin == 1))
    ):
        problems.append(f"margin {rule.margin} is out of range: {rule.metric} is a share between 0 and 1")
    return problems


def judge_rules(params: GateParams, reports: dict[str, Report]) -> list[dict[str, Any]]:
    """Return each rule with its numbers and its outcome, in the order of params.yaml.

    Raises:
        ConfigError: a rule looks at a hop that was not asked the suites.
        DataContractError: the metric of a blocking rule has no items, or fewer than two.
    """
    judged = judge(params, [examine(rule, params, reports) for rule in params.rules])
    return [rule | _where(rule, reports) for rule in judged]


def judge(params: GateParams, findings: list[Finding]) -> list[dict[str, Any]]:
    """Return findings with their outcome; the blocking ones are one family."""
    family = [found for found in findings if found.rule.severity == "block" and found.measured]
    names = [found.rule.name for found in family]
    shown = dict(zip(names, holm([found.p_value for found in family]), strict=True))
    refuted = dict(zip(names, holm([found.p_opposite for found in family]), strict=True))
    judged = []
    for found in findings:
        p_adjusted = shown.get(found.rule.name, found.p_value)
        p_opposite_adjusted = refuted.get(found.rule.name, found.p_opposite)
        alpha = level(found.rule, params)
        outcome = _outcome(found, p_adjusted, p_opposite_adjusted, alpha)
        judged.append(_plain(found, p_adjusted, p_opposite_adjusted, outcome, alpha))
    return judged


def _where(rule: dict[str, Any], reports: dict[str, Report]) -> dict[str, Any]:
    """Return {"hop", "steps"}: what each step on the way gained, and the step that lost most.

    No step is named where the rule passed, or is open and nothing was lost on the way.
    """
    steps = lost_at(METRICS[rule["metric"]], rule["hops"], reports)
    lost = rule["outcome"] == FAIL or (rule["outcome"] == INCONCLUSIVE and sum(steps.values()) < 0)
    return {"hop": min(steps, key=lambda hop: steps[hop]) if lost and steps else None, "steps": steps}


def _outcome(found: Finding, p_adjusted: float, p_opposite_adjusted: float, alpha: float) -> str:
    """Return PASS, FAIL or INCONCLUSIVE; what has a value that is no number fails, what has no items is left open."""
    if found.n < 2:
        return INCONCLUSIVE
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
        "alpha": alpha,
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
        "items": list(found.items),
        "groups": list(found.groups[:NAMED]),
        "groups_asked": len(found.groups),
        "outcome": outcome,
    }


#: How many times the distance that can be told is the distance there is, where no set of items will ever do.
FARTHEST = 1e6


def _items_needed(found: Finding) -> int | None:
    """Return about how many items would decide the rule if the value stays where it is; None where none would.

    The detectable distance shrinks with the square root of the number of items.
    """
    distance = abs(found.gain_to_line)
    if not distance > 0 or not math.isfinite(found.minimum_detectable) or found.minimum_detectable <= 0:
        return None
    ratio = found.minimum_detectable / distance
    # Further away than any number of items helps; squared it may be no number any more.
    return max(found.n + 1, math.ceil(found.n * ratio**2)) if ratio < FARTHEST else None
