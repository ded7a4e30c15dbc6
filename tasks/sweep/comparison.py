"""Who wins a sweep, and what the winner is worth where it was not chosen.

Each trial is compared with the present settings (trial 0) by the gate's own paired test on the selection half; Holm
adjusts for the family of all trials that were compared. The trial with the best mean there wins: the best of many is
partly luck, so its number there is too good. Its comparison on the held-out half, which nobody looked at before, is a
single one and needs no adjustment.
"""

from collections.abc import Mapping
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.settings import ChampionRule, GateParams
from tasks.evaluation.statistics.comparison import holm
from tasks.gate.evidence import METRICS, Key, Report
from tasks.gate.findings import Finding, examine, rounded
from tasks.sweep.halves import Halves, halves_of, of_half

#: The trial with the settings as they are.
PRESENT = 0


def selection_value(report: Report, metric: str, seed: int) -> float:
    """Return the mean of a metric on the selection half: all that a sampler is ever told."""
    half = halves_of(report, metric, seed).selection
    values = report.values([key for key in report.keys_of(METRICS[metric]) if key in half])
    return sum(values) / len(values)


def require_comparable(present: Report, trial: Report, metric: str) -> None:
    """Refuse a trial whose numbers mean nothing beside those of the present settings.

    Raises:
        DataContractError: other items, a value that is no number, or a canary that failed.
    """
    if not trial.results["canary"]["passed"]:
        raise DataContractError("its canary failed: no score of it means anything", "see its results.json")
    if other := set(present.samples) ^ set(trial.samples):
        raise DataContractError(f"it was asked other items: {'/'.join(min(other))}", "only the same can be compared")
    if broken := [name for name in trial.not_finite() if name in _names(trial, metric)]:
        raise DataContractError(f"a score is no number: {broken[0]}", "see its samples.jsonl")


def conclude(reports: Mapping[int, Report], metric: str, gate: GateParams, seed: int) -> dict[str, Any]:
    """Compare all trials with the present settings, choose one, and ask the held-out half about it.

    Args:
        reports: evaluation by trial; PRESENT is among them.
        metric: name of the metric that decides.
        gate: alpha, bootstrap samples and seed of the tests.
        seed: of the halves.

    Returns:
        {"metric", "lower_is_better", "present", "compared", "trials", "winner", "heldout", "others", ...}: `heldout`
        and `others` null where no trial is better than the present settings.

    Raises:
        DataContractError: too few items.
    """
    present = reports[PRESENT]
    halves = halves_of(present, metric, seed)
    numbers = [number for number in sorted(reports) if number != PRESENT]
    found = {number: _compare(present, reports[number], halves.selection, metric, gate) for number in numbers}
    adjusted = dict(zip(numbers, holm([found[number].p_value for number in numbers]), strict=True))
    sign = METRICS[metric].sign
    values = {number: selection_value(reports[number], metric, seed) for number in reports}
    # Of equal ones the first: with nothing gained the settings stay.
    winner = max(values, key=lambda number: (sign * values[number], -number))
    won = winner != PRESENT
    return {
        "metric": metric, "title": METRICS[metric].title, "lower_is_better": sign < 0, "alpha": gate.alpha,
        "confidence": rounded(1 - 2 * gate.alpha), "compared": len(numbers),
        "items": {"selection": _count(present, metric, halves.selection),
                  "heldout": _count(present, metric, halves.heldout)},
        "present": rounded(values[PRESENT]),
        "trials": [{"trial": number, **_plain(found[number]), "p_adjusted": rounded(adjusted[number])}
                   for number in numbers],
        "winner": winner,
        "heldout": _confirmed(present, reports[winner], halves, metric, gate) if won else None,
        "others": _others(present, reports[winner], halves, metric, gate) if won else None,
    }  # fmt: skip


def _confirmed(present: Report, winner: Report, halves: Halves, metric: str, gate: GateParams) -> dict[str, Any]:
    """Return the winner's one comparison on the items it was not chosen on."""
    found = _compare(present, winner, halves.heldout, metric, gate)
    return _plain(found) | {
        "shown": found.p_value <= gate.alpha,
        "worse": found.p_opposite <= gate.alpha,
        "minimum_detectable": rounded(found.minimum_detectable),
    }


def _others(present: Report, winner: Report, halves: Halves, metric: str, gate: GateParams) -> list[dict[str, Any]]:
    """Return the other metrics on the held-out half, what the winner may have paid with: not adjusted, not decisive."""
    rows = []
    for other in METRICS.values():
        keys = [key for key in present.keys_of(other) if key in halves.heldout]
        if other.name != metric and len(keys) > 1:
            found = _compare(present, winner, halves.heldout, other.name, gate)
            rows.append({"metric": other.name, "lower_is_better": other.sign < 0, **_plain(found)})
    return rows


def _compare(present: Report, trial: Report, half: frozenset[Key], metric: str, gate: GateParams) -> Finding:
    """Return the gate's paired comparison of a trial with the present settings on one half of the items."""
    rule = ChampionRule(name="sweep", metric=metric, margin=0.0, alpha=None, severity="report", expect="better")
    first, second = rule.hops
    return examine(rule, gate, {first: of_half(present, half), second: of_half(trial, half)})


def _plain(found: Finding) -> dict[str, Any]:
    """Return a comparison as the result keeps it; numbers that are none become null."""
    numbers = {name: rounded(getattr(found, name)) for name in ("base_value", "value", "difference", "p_value")}
    return numbers | {"n": found.n, "interval": [rounded(end) for end in found.interval], "test": found.test}


def _count(report: Report, metric: str, half: frozenset[Key]) -> int:
    """Return how many items of a metric are in a half."""
    return sum(key in half for key in report.keys_of(METRICS[metric]))


def _names(report: Report, metric: str) -> set[str]:
    """Return the items of a metric as `not_finite` names them."""
    return {"/".join(key) for key in report.keys_of(METRICS[metric])}
