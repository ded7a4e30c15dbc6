"""How often would the active rules be wrong? False blocks and false passes, by simulation.

Two truths are simulated, many times, with the rules' own tests:

    equal models   nothing was lost. A run is *falsely blocked* where any regression rule (`not_worse`, `groups` of two
                   hops; blocking) does not PASS: INCONCLUSIVE blocks as FAIL does.
    a true loss    of twice one rule's margin (in its smallest group, for a rule over groups), all else equal. The run
                   is *falsely passed* where every regression rule passes all the same.

Rules of the family that are no regression rules (a gain, a floor) are taken at their worst for each figure: for false
blocks they weigh on Holm's adjustment as if they were not shown yet, for false passes as if they were. Rules are
simulated independently of each other; the truth ties them together, and the union is then smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, read_jsonl
from tasks.core.settings import EvaluateParams, GateParams, Settings
from tasks.data.matching.eval_sets import DOMAIN_SUITES, PACK_FILE
from tasks.evaluation.statistics.binary import paired_binary_levels, score_interval
from tasks.evaluation.statistics.comparison import holm
from tasks.evaluation.statistics.continuous import bootstrap_p_values
from tasks.gate.evidence import METRICS, Metric, Report, read_reports
from tasks.gate.findings import Rule, level, rounded
from tasks.gate.rules import check_rules

ASSUMPTIONS = Path(__file__).with_name("assumptions.json")
#: The bar for both rates.
BAR = 0.05
#: Bootstrap samples a simulated run: enough for the levels rules decide at, a tenth of the gate's own.
BOOTSTRAP_SAMPLES = 1000
#: Least share of items that are taken to differ, where a small evaluation saw none.
LEAST_DIFFERENT = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """What one rule looks at.

    Args:
        metric: what is compared.
        sizes: items by group; one entry where the rule has no groups.
        spread: share of 0/1 items that equal models answer differently, or deviation of the paired differences.
        source: where that comes from.
    """

    metric: Metric
    sizes: tuple[int, ...]
    spread: float
    source: str


def situations(
    rules: Sequence[Rule], *, profile: str, counts: dict[str, int], reports: dict[str, Report] | None = None
) -> dict[str, Situation]:
    """Return what each rule looks at: as evaluated where there are reports, else as assumed.

    Args:
        rules: to be simulated.
        profile: name of the profile; it decides which assumptions hold.
        counts: items by suite, of what the settings would evaluate.
        reports: of all hops, where there are any.
    """
    assumed = read_json(ASSUMPTIONS)
    found = {}
    for rule in rules:
        metric = METRICS[rule.metric]
        evaluated = _evaluated(rule, metric, reports) if reports else None
        made = evaluated or _assumed(rule, metric, profile, counts, assumed)
        if made:
            found[rule.name] = made
    return found


def _assumed(
    rule: Rule, metric: Metric, profile: str, counts: dict[str, int], assumed: dict[str, Any]
) -> Situation | None:
    """Return a situation from the published sizes and assumed spreads; None where the metric is not evaluated."""
    suite = next((suite for suite in metric.suites if counts.get(suite)), None)
    if suite is None:
        return None
    spread = _spreads(profile, assumed)
    step = "quantization" if tuple(rule.hops) == ("merged", "awq") else "training"
    groups = assumed["items"].get(suite, {}).get("groups")
    # Items of a pack by concept: evenly over the twenty concepts of the demo pack.
    sizes = tuple(groups or [max(1, counts[suite] // 20)] * 20) if rule.expect == "groups" else (counts[suite],)
    return Situation(metric, sizes, spread[step][metric.kind], "assumed")


def _spreads(profile: str, assumed: dict[str, Any]) -> dict[str, Any]:
    """Return the spreads assumed for a profile."""
    found: dict[str, Any] = assumed["spread"].get(profile, assumed["spread"]["other"])
    return found


def _evaluated(rule: Rule, metric: Metric, reports: dict[str, Report]) -> Situation | None:
    """Return a situation from reports; None where a side was not evaluated."""
    sides = [reports.get({"champion": "merged"}.get(hop, hop)) for hop in rule.hops]
    if not all(side is not None and side.full for side in sides):
        return None
    old, new = (side for side in sides if side is not None)
    keys = new.keys_of(metric)
    if len(keys) < 2:
        return None
    differences = np.array(new.values(keys)) - np.array(old.values(keys))
    groups: dict[str, int] = {}
    for key in keys:
        groups[new.group(key)] = groups.get(new.group(key), 0) + 1
    sizes = tuple(groups.values()) if rule.expect == "groups" else (len(keys),)
    spread = float((differences != 0).mean()) if metric.kind == "accuracy" else float(differences.std(ddof=1))
    return Situation(metric, sizes, spread, f"evaluated: {rule.hops[0]} and {rule.hops[1]} on {len(keys)} items")


def simulate(
    params: GateParams, rules: Sequence[Rule], known: dict[str, Situation], *, runs: int, seed: int
) -> dict[str, Any]:
    """Return the false-block and false-pass rates of the blocking rules of one family.

    Args:
        params: error rate of the gate.
        rules: a family; rules that only report are left out.
        known: what each rule looks at.
        runs: how many runs are simulated.
        seed: of the generator; the same seed gives the same rates.

    Returns:
        {"runs", "false_block", "false_block_interval", "rules": [{"name", "items", "spread", "source", "margin",
        "passes_equal", "false_pass"}], "not_simulated": [names], "ok"}.

    Raises:
        ConfigError: there is no regression rule that blocks, or nothing is known of one.
    """
    family = [rule for rule in rules if rule.severity == "block"]
    regression = [rule for rule in family if _is_regression(rule)]
    if unknown := [rule.name for rule in regression if rule.name not in known]:
        raise ConfigError(
            f"no items are evaluated for the blocking rule(s) {', '.join(unknown)}",
            "add the exam to evaluate.exams in params.yaml, or take the rule out of gate.rules",
        )
    levels = sorted({level(rule, params) / rank for rule in family for rank in range(1, len(family) + 1)})
    generator = np.random.default_rng(seed)
    drawn = [_p_values(rule, known[rule.name], levels, runs, generator) for rule in regression]
    equal = np.array([sides[0] for sides in drawn]).reshape(len(regression), runs)
    others = len(family) - len(regression)
    passed = _passes(params, regression, equal, before=0, behind=others)
    blocked = 1 - float(passed.all(axis=0).mean()) if regression else 0.0
    rows = []
    for index, rule in enumerate(regression):
        worse = equal.copy()
        worse[index] = drawn[index][1]
        false_pass: NDArray[np.bool_] = np.all(_passes(params, regression, worse, before=others, behind=0), axis=0)
        rows.append(_row(rule, known[rule.name], passed[index], false_pass))
    return {
        "runs": runs,
        "false_block": rounded(blocked),
        "false_block_interval": _interval(round(blocked * runs), runs),
        "rules": rows,
        "not_simulated": [rule.name for rule in family if rule not in regression],
        "ok": blocked <= BAR and all(row["false_pass"] <= BAR for row in rows),
    }


def _is_regression(rule: Rule) -> bool:
    """Tell whether a rule claims that nothing was lost from one side to another."""
    return rule.expect in ("not_worse", "groups") and rule.hops[0] != rule.hops[1]


def _p_values(
    rule: Rule, situation: Situation, levels: list[float], runs: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the p-value of one rule's claim in every run: models equal, and one worse by twice the margin."""
    smallest = int(np.argmin(situation.sizes))
    equal, worse = [], []
    for index, size in enumerate(situation.sizes):
        draw = _binary if situation.metric.kind == "accuracy" else _continuous
        loss = 2 * rule.margin if index == smallest else 0.0
        sides = draw(rule.margin, loss, size, situation.spread, levels, runs, generator)
        equal.append(sides[0])
        worse.append(sides[1])
    # A rule over groups is shown where every group is: the largest p-value is the claim's.
    return np.max(equal, axis=0), np.max(worse, axis=0)


def _binary(
    margin: float, loss: float, n: int, differ: float, levels: list[float], runs: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return p-values (rounded up to `levels`) of 0/1 items."""
    sides = []
    for truth in (0.0, loss):
        rate = min(1.0, max(differ, truth, LEAST_DIFFERENT))
        counts = generator.multinomial(n, [(rate - truth) / 2, (rate + truth) / 2, 1 - rate], size=runs)
        gains, losses = counts[:, 0].astype(float), counts[:, 1].astype(float)
        found = paired_binary_levels(gains, losses, n, threshold=-margin, levels=levels)
        sides.append(np.maximum(found, 0.5**n))
    return sides[0], sides[1]


def _continuous(
    margin: float, loss: float, n: int, spread: float, levels: list[float], runs: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return p-values of continuous items, of the gate's own bootstrap on normal differences."""
    if n < 2:
        return np.ones(runs), np.ones(runs)
    found = np.empty((2, runs))
    for run in range(runs):
        differences = generator.normal(0, spread, n)
        # A loss moves every difference: the same pivots against a line that much nearer.
        found[:, run] = bootstrap_p_values(differences, (-margin, loss - margin), BOOTSTRAP_SAMPLES, run)
    return np.maximum(found[0], 0.5**n), np.maximum(found[1], 0.5**n)


def _passes(params: GateParams, rules: list[Rule], p_values: Floats, *, before: int, behind: int) -> NDArray[np.bool_]:
    """Return which rules PASS in which run, shape (rules, runs), after Holm's adjustment.

    Args:
        params: error rate of the gate.
        rules: the regression rules.
        p_values: shape (rules, runs).
        before: further rules of the family that are shown beyond doubt.
        behind: further rules of the family that are not shown.
    """
    limits = [level(rule, params) for rule in rules]
    passed = np.zeros(p_values.shape, dtype=np.bool_)
    for run in range(p_values.shape[1]):
        adjusted = holm([*[0.0] * before, *p_values[:, run], *[1.0] * behind])[before : before + len(rules)]
        passed[:, run] = [value <= limit for value, limit in zip(adjusted, limits, strict=True)]
    return passed


def _row(rule: Rule, situation: Situation, passed: NDArray[np.bool_], false_pass: NDArray[np.bool_]) -> dict[str, Any]:
    """Return one rule's figures."""
    return {
        "name": rule.name,
        "items": sum(situation.sizes),
        "groups": len(situation.sizes),
        "spread": rounded(situation.spread),
        "source": situation.source,
        "margin": rule.margin,
        "passes_equal": rounded(float(passed.mean())),
        "false_pass": rounded(float(false_pass.mean())),
    }


def _interval(hits: int, runs: int) -> list[float | None]:
    """Return the 95 % interval of a simulated rate."""
    low, high = score_interval(hits, 0, runs, confidence=0.95) if hits else (0.0, 3.0 / runs)
    return [rounded(max(0.0, low)), rounded(high)]


def simulate_families(
    settings: Settings, root: Path, *, reports: dict[str, Path] | None, runs: int, seed: int
) -> dict[str, Any]:
    """Return the rates of the gate's rules and of the champion's rules under the active settings.

    Args:
        settings: whose rules, and what would be evaluated.
        root: project root; the domain pack's path starts there.
        reports: folders of the hops' reports, None to take the assumptions.
        runs: how many runs are simulated.
        seed: of the generator.

    Raises:
        ConfigError: a rule cannot be asked.
        DataContractError: a report or the pack is damaged.
    """
    check_rules(settings.gate)
    counts = item_counts(settings.evaluate, root)
    read = read_reports(reports) if reports else None
    families: dict[str, Sequence[Rule]] = {"gate": settings.gate.rules, "champion": settings.gate.champion_rules}
    found = {
        name: simulate(
            settings.gate,
            rules,
            situations(rules, profile=settings.profile, counts=counts, reports=read),
            runs=runs,
            seed=seed,
        )
        for name, rules in families.items()
    }
    return {
        "profile": settings.profile,
        "alpha": settings.gate.alpha,
        "bar": BAR,
        "assumptions": _spreads(settings.profile, read_json(ASSUMPTIONS))["source"],
        "families": found,
        "ok": all(family["ok"] for family in found.values()),
    }


def item_counts(evaluate: EvaluateParams, root: Path) -> dict[str, int]:
    """Return how many items each suite would have: published sizes of exams, lines of the pack's files.

    Raises:
        DataContractError: the pack is absent or damaged.
    """
    published = read_json(ASSUMPTIONS)["items"]
    counts: dict[str, int] = {exam.name: exam.limit or sum(published[exam.name]["groups"]) for exam in evaluate.exams}
    folder = root / evaluate.domain.path
    for kind, name in read_json(folder / PACK_FILE)["files"].items():
        items = sum(1 for _ in read_jsonl(folder / name))
        counts[DOMAIN_SUITES.get(kind, f"domain_{kind}")] = min(items, evaluate.domain.limit or items)
    return counts | {"domain_keypoints": counts.get("domain_short", 0)}


def simulation_words(found: dict[str, Any]) -> str:
    """Return the rates as a person reads them."""
    lines = [f"profile {found['profile']}, alpha {found['alpha']:g}; both rates should be at most {100 * BAR:.0f} %"]
    lines.append(f"what is assumed where nothing was evaluated: {found['assumptions']}")
    for name, family in found["families"].items():
        low, high = family["false_block_interval"]
        lines += [
            f"{name} rules, {family['runs']} runs: equal models are blocked in {100 * family['false_block']:.1f} % "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
        ]
        for rule in family["rules"]:
            groups = f" in {rule['groups']} groups" if rule["groups"] > 1 else ""
            lines.append(
                f"  {rule['name']}: {rule['items']} items{groups}, margin {rule['margin']:g}, spread "
                f"{rule['spread']:.3f} ({rule['source']}); equal models pass it in {100 * rule['passes_equal']:.1f} %, "
                f"a loss of twice the margin passes in {100 * rule['false_pass']:.1f} %"
            )
        if family["not_simulated"]:
            lines.append(
                f"  claims of a gain and floors, not part of these rates: {', '.join(family['not_simulated'])}"
            )
    wrong = "raise the margins or add items (tunegate gate simulate says which rule), then run this again"
    lines.append("both rates are within the bar" if found["ok"] else f"NOT within the bar\n  next: {wrong}")
    return "\n".join(lines)
