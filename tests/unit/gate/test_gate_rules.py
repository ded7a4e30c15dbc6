"""The rules by themselves: outcomes at the line, error rates over many runs, properties of any evidence."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.core.errors import DataContractError
from tasks.core.settings import AgreementParams, AgreementsParams, GateParams, GateRule
from tasks.gate.evidence import METRICS, Report
from tasks.gate.findings import estimate, examine
from tasks.gate.rules import judge_rules
from tasks.gate.words import rule_words

SUITE_OF = {"domain_bits_per_byte": ("domain_short", "bits_per_byte"), "safety_accuracy": ("safety", "accuracy")}


def rule(name: str = "r", metric: str = "domain_bits_per_byte", expect: str = "not_worse", margin: float = 0.1,
         severity: str = "block", hops: tuple[str, str] = ("base", "awq")) -> GateRule:  # fmt: skip
    return GateRule.model_validate({"name": name, "metric": metric, "hops": hops, "expect": expect, "margin": margin,
                                    "alpha": None, "severity": severity})  # fmt: skip


def params(*rules: GateRule, samples: int = 500) -> GateParams:
    near = AgreementParams(min_top1=0.8, max_kl_nats=0.5)
    agreement = AgreementsParams(adapter_merged=near, merged_awq=near)
    return GateParams(
        alpha=0.05, bootstrap_samples=samples, seed=1, rules=list(rules), champion_rules=[], agreement=agreement
    )


def reports(metric: str = "domain_bits_per_byte", **values: Any) -> dict[str, Report]:
    """Return reports of hops from their values by hop."""
    suite, kind = SUITE_OF[metric]
    made = {}
    for hop, numbers in values.items():
        rows = {(suite, f"{n:04d}"): {"metric": kind, "value": float(v)} for n, v in enumerate(numbers)}
        made[hop] = Report(hop, Path(hop), {"suites": {suite: {"name": suite}}, "metrics": {}}, rows)
    return made


def outcome(asked: GateRule, **values: Any) -> str:
    return str(judge_rules(params(asked), reports(asked.metric, **values))[0]["outcome"])


def bits(shift: float, n: int = 96, seed: int = 0, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return bits per byte at two hops; the new hop needs `shift` more."""
    generator = np.random.default_rng(seed)
    base = generator.gamma(8, 0.25, n)
    return base, base + shift + generator.normal(0, spread, n)


@pytest.mark.parametrize(
    ("expect", "margin", "shift", "expected"),
    [
        ("better", 0.05, -0.40, "PASS"),
        ("better", 0.05, +0.40, "FAIL"),
        ("better", 0.05, -0.01, "FAIL"),
        ("better", 0.05, -0.05, "INCONCLUSIVE"),
        ("not_worse", 0.15, 0.0, "PASS"),
        ("not_worse", 0.15, +0.40, "FAIL"),
        ("not_worse", 0.15, +0.15, "INCONCLUSIVE"),
        ("not_worse", 0.15, -1.0, "PASS"),
    ],
)
def test_bits_per_byte_on_either_side_of_the_line(expect: str, margin: float, shift: float, expected: str) -> None:
    base, awq = bits(shift, seed=5)
    awq += (base + shift - awq).mean()  # the sample's mean sits exactly at the shift
    assert outcome(rule(expect=expect, margin=margin), base=base, awq=awq) == expected


def test_numbers_stand_in_the_metrics_own_direction() -> None:
    base, awq = bits(-0.4)
    found = judge_rules(params(rule(expect="better", margin=0.05)), reports(base=base, awq=awq))[0]
    assert found["difference"] == pytest.approx(found["value"] - found["base_value"], abs=1e-5)
    assert found["interval"][0] < found["difference"] < found["interval"][1] < found["line"] == -0.05
    words = rule_words(found, 0.05)["words"]
    assert "bits per byte better (90 % interval: 0.395 to 0.434 bits per byte better)" in words


def test_interval_and_outcome_agree_for_a_single_rule() -> None:
    for seed in range(30):
        base, awq = bits(0.1, n=30, seed=seed)
        found = judge_rules(params(rule(margin=0.1)), reports(base=base, awq=awq))[0]
        low, high = found["interval"]
        if found["outcome"] == "PASS":
            assert high <= found["line"] + 0.005
        elif found["outcome"] == "FAIL":
            assert low >= found["line"] - 0.005
        else:
            assert low - 0.005 <= found["line"] <= high + 0.005


@pytest.mark.parametrize(("wrong", "expected"), [(0, "PASS"), (6, "INCONCLUSIVE"), (20, "FAIL")])
def test_paired_accuracy(wrong: int, expected: str) -> None:
    base = np.ones(44)
    awq = np.where(np.arange(44) < wrong, 0.0, 1.0)
    assert outcome(rule(metric="safety_accuracy", margin=0.1), base=base, awq=awq) == expected


def test_too_few_items_never_pass() -> None:
    base, awq = np.ones(5), np.ones(5)
    assert outcome(rule(metric="safety_accuracy", margin=0.1), base=base, awq=awq) == "INCONCLUSIVE"
    assert outcome(rule(expect="better", margin=0.05), base=[3.0, 3.1], awq=[1.0, 1.1]) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("floor", "right", "n", "expected"),
    [
        (0.9, 44, 44, "PASS"),
        (0.9, 42, 44, "INCONCLUSIVE"),  # above the floor, but so are many models below it
        (0.9, 39, 44, "FAIL"),  # below the floor: no test buys it back
        (0.9, 5, 5, "INCONCLUSIVE"),
        (1.0, 44, 44, "PASS"),  # a census: every named item is right
        (1.0, 43, 44, "FAIL"),
    ],
)
def test_floor(floor: float, right: int, n: int, expected: str) -> None:
    values = np.arange(n) < right
    asked = rule(metric="safety_accuracy", expect="floor", margin=floor, hops=("awq", "awq"))
    assert outcome(asked, awq=values) == expected


@pytest.mark.parametrize(("level", "expected"), [(1.5, "PASS"), (2.5, "FAIL"), (1.99, "INCONCLUSIVE")])
def test_floor_of_bits_per_byte_is_a_ceiling(level: float, expected: str) -> None:
    values = level + np.tile([-0.2, 0.2], 40)
    assert outcome(rule(expect="floor", margin=2.0, hops=("awq", "awq")), awq=values) == expected


def test_inconclusive_says_how_many_items_would_decide() -> None:
    base, awq = bits(-0.07, n=20, seed=3)
    found = judge_rules(params(rule(expect="better", margin=0.05)), reports(base=base, awq=awq))[0]
    assert found["outcome"] == "INCONCLUSIVE"
    assert found["items_needed"] > 20
    assert f"about {found['items_needed']} items would decide it" in rule_words(found, 0.05)["words"]


def test_holm_over_blocking_rules_only() -> None:
    base, awq = bits(-0.086, n=40, seed=0)
    near = rule("near", expect="better", margin=0.05)
    alone = judge_rules(params(near), reports(base=base, awq=awq))[0]
    twin = near.model_copy(update={"name": "twin"})
    family = judge_rules(params(near, twin), reports(base=base, awq=awq))
    watched = near.model_copy(update={"name": "watched", "severity": "report"})
    beside = judge_rules(params(near, watched), reports(base=base, awq=awq))
    assert family[0]["p_adjusted"] == pytest.approx(2 * alone["p_value"], abs=1e-5)
    assert beside[0]["p_adjusted"] == alone["p_adjusted"] == beside[1]["p_adjusted"]


def test_a_single_item_is_refused() -> None:
    with pytest.raises(DataContractError, match="has 1 item"):
        examine(rule(), params(rule()), reports(base=[1.0], awq=[1.0]))


def shares(make: Any, rules: tuple[GateRule, ...], runs: int) -> dict[str, float]:
    """Return, for each outcome, the share of simulated runs in which any blocking rule has it."""
    hits = dict.fromkeys(("PASS", "FAIL", "INCONCLUSIVE"), 0)
    for seed in range(runs):
        judged = judge_rules(params(*rules, samples=300), make(np.random.default_rng(seed)))
        for found in {found["outcome"] for found in judged}:
            hits[found] += 1
    return {found: count / runs for found, count in hits.items()}


def limit(alpha: float, runs: int) -> float:
    """Return the share that chance exceeds once in a thousand: alpha plus 3.1 standard errors."""
    return alpha + 3.1 * math.sqrt(alpha * (1 - alpha) / runs)


def at_the_line(shifts: dict[str, float]) -> Any:
    """Return a maker of reports whose bits per byte lie, in truth, exactly `shifts` above the base."""

    def make(generator: np.random.Generator) -> dict[str, Report]:
        base = generator.gamma(8, 0.25, 60)
        hops = {hop: base + shift + generator.normal(0, 0.15, 60) for hop, shift in shifts.items()}
        return reports(base=base, **hops)

    return make


RULES = (rule("gain", expect="better", margin=0.05), rule("kept", margin=0.15, hops=("merged", "awq")))


def test_runs_exactly_at_the_line_are_falsely_decided_at_most_at_alpha() -> None:
    # Both claims hold with nothing to spare: failing such a run is a false block, passing a rule is a false pass.
    found = shares(at_the_line({"merged": -0.20, "awq": -0.05}), RULES, 400)
    assert found["FAIL"] <= limit(0.05, 400)
    assert found["PASS"] <= limit(0.05, 400)
    assert found["INCONCLUSIVE"] > 0.9


def test_a_model_no_different_from_the_base_is_never_failed_for_being_worse() -> None:
    kept = (rule("kept", margin=0.10), rule("kept_too", margin=0.10, hops=("merged", "awq")))
    assert shares(at_the_line({"merged": 0.0, "awq": 0.0}), kept, 200)["FAIL"] <= 0.05


def test_a_clearly_good_run_is_hardly_ever_stopped() -> None:
    found = shares(at_the_line({"merged": -0.40, "awq": -0.38}), RULES, 100)
    assert found["FAIL"] == 0
    assert found["INCONCLUSIVE"] <= 0.05


def test_accuracy_at_the_line_is_falsely_decided_at_most_at_alpha() -> None:
    asked = rule(metric="safety_accuracy", margin=0.1)

    @cache  # the outcome depends on these counts alone, and they repeat
    def decided(gains: int, losses: int) -> str:
        base = np.arange(24) < losses
        awq = (np.arange(24) >= losses) & (np.arange(24) < losses + gains)
        return outcome(asked, base=base, awq=awq)

    draws = np.random.default_rng(0).multinomial(24, [0.05, 0.15, 0.80], size=1000)  # exactly 0.1 worse
    found = [decided(int(gains), int(losses)) for gains, losses, _ in draws]
    assert found.count("FAIL") / 1000 <= limit(0.05, 1000)
    assert found.count("PASS") / 1000 <= limit(0.05, 1000)


pairs = st.lists(st.tuples(st.floats(0.1, 8), st.floats(0.1, 8)), min_size=2, max_size=40)


@hypothesis_settings(max_examples=60, deadline=None)
@given(pairs=pairs, margin=st.floats(0, 2), expect=st.sampled_from(["better", "not_worse", "floor"]))
def test_any_evidence_gives_one_outcome_and_words(pairs: list[tuple[float, float]], margin: float, expect: str) -> None:
    base, awq = zip(*pairs, strict=True)
    hops = ("awq", "awq") if expect == "floor" else ("base", "awq")
    found = judge_rules(params(rule(expect=expect, margin=margin, hops=hops)), reports(base=base, awq=awq))[0]
    assert found["outcome"] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert 0 <= found["p_adjusted"] <= 1
    assert 0 <= found["p_opposite_adjusted"] <= 1
    on_the_wrong_side = (found["difference"] - found["line"]) > 1e-5
    assert not (found["outcome"] == "PASS" and on_the_wrong_side)
    assert rule_words(found, 0.05)["words_zh"]


@hypothesis_settings(max_examples=30, deadline=None)
@given(pairs=pairs, order=st.randoms(use_true_random=False))
def test_the_order_of_items_decides_nothing(pairs: list[tuple[float, float]], order: Any) -> None:
    base, awq = zip(*pairs, strict=True)
    found = reports(base=base, awq=awq)
    mixed = {}
    for hop, report in found.items():
        rows = list(report.samples.items())
        order.shuffle(rows)
        mixed[hop] = Report(hop, report.folder, report.results, dict(rows))
    asked = params(rule())
    assert judge_rules(asked, mixed) == judge_rules(asked, found)


def test_an_open_rule_names_a_step_only_where_something_was_lost() -> None:
    asked, none = rule(metric="safety_accuracy"), [0.0] * 20
    (same,) = judge_rules(params(asked), reports("safety_accuracy", base=none, awq=none))
    (less,) = judge_rules(params(asked), reports("safety_accuracy", base=[1.0, *none], awq=[0.0, *none]))
    assert (same["outcome"], same["hop"]) == ("INCONCLUSIVE", None)
    assert (less["outcome"], less["hop"]) == ("INCONCLUSIVE", "awq")


def test_a_value_that_one_item_makes_has_no_huge_interval() -> None:
    metric = METRICS["domain_keypoints"]
    found = estimate(metric, params(rule()), [0.5] + [0.0] * 95)
    assert found["value"] == pytest.approx(0.5 / 96, abs=1e-6)
    assert all(end is None or 0 <= abs(end) <= 1 for end in found["interval"])
    assert None in found["interval"]
