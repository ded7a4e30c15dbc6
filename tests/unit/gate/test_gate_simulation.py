"""Rates of wrong verdicts: the simulation agrees with the gate itself, every shipped profile is within the bar."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tasks.cli.gate import gate as gate_command
from tasks.core.errors import ConfigError
from tasks.core.settings import GateParams, GateRule, Settings, load_settings
from tasks.evaluation.statistics.binary import paired_binary_levels, paired_binary_p
from tasks.evaluation.statistics.continuous import bootstrap_p_values, compare_continuous
from tasks.gate.evidence import METRICS
from tasks.gate.simulation import BAR, Situation, item_counts, simulate, simulate_families, simulation_words

ROOT = Path(__file__).parents[3]
PROFILES = sorted(path.stem for path in (ROOT / "infra/profiles").glob("*.yaml"))


@cache
def profile_settings(name: str) -> Settings:
    return load_settings(ROOT / "infra/profiles" / f"{name}.yaml")


def one_rule(margin: float, metric: str = "ceval_accuracy", expect: str = "not_worse") -> GateParams:
    """Return a gate of one blocking rule."""
    rule = {"name": "kept", "metric": metric, "hops": ["base", "awq"], "expect": expect, "margin": margin,
            "alpha": None, "severity": "block"}  # fmt: skip
    plain = profile_settings("laptop").gate.model_dump(mode="json") | {"rules": [rule]}
    return GateParams.model_validate_json(json.dumps(plain))


def rates(margin: float, spread: float, sizes: tuple[int, ...] = (300,), metric: str = "ceval_accuracy",
          expect: str = "not_worse") -> dict[str, Any]:  # fmt: skip
    params = one_rule(margin, metric, expect)
    known = {"kept": Situation(METRICS[metric], sizes, spread, "stated")}
    return simulate(params, params.rules, known, runs=300, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_within_the_bar(name: str) -> None:
    found = simulate_families(profile_settings(name), ROOT, reports=None, runs=200, seed=11)
    assert found["ok"], simulation_words(found)
    for family in found["families"].values():
        assert family["false_block"] <= BAR
        assert all(rule["false_pass"] <= BAR for rule in family["rules"])


def test_a_margin_the_items_cannot_show_is_found() -> None:
    tight = rates(0.02, 0.2)
    assert tight["false_block"] > 0.5
    assert not tight["ok"]
    assert rates(0.12, 0.2)["ok"]


@pytest.mark.parametrize(("metric", "spread"), [("ceval_accuracy", 0.2), ("domain_bits_per_byte", 0.4)])
def test_a_loss_of_twice_the_margin_hardly_ever_passes(metric: str, spread: float) -> None:
    assert rates(0.1, spread, (200,), metric)["rules"][0]["false_pass"] <= BAR


def test_small_groups_block_and_large_ones_do_not() -> None:
    assert rates(0.2, 0.1, (12,) * 20, expect="groups")["false_block"] > 0.5
    assert rates(0.2, 0.1, (170,) * 20, expect="groups")["ok"]


def test_same_seed_same_rates() -> None:
    assert rates(0.05, 0.2) == rates(0.05, 0.2)


def test_levels_decide_as_the_exact_test_does() -> None:
    generator = np.random.default_rng(0)
    counts = generator.multinomial(120, [0.06, 0.1, 0.84], size=60)
    levels = [0.05, 0.025, 0.01]
    for threshold in (0.0, -0.1):
        gains, losses = counts[:, 0].astype(float), counts[:, 1].astype(float)
        found = paired_binary_levels(gains, losses, 120, threshold=threshold, levels=levels)
        for gain, loss, rounded in zip(gains, losses, found, strict=True):
            exact = paired_binary_p(int(gain), int(loss), 120, threshold=threshold)
            assert [rounded <= level for level in levels] == [exact <= level for level in levels]


def test_bootstrap_p_values_are_those_of_the_gate() -> None:
    differences = np.random.default_rng(2).normal(-0.02, 0.1, 50)
    for line in (-0.1, 0.0):
        asked = compare_continuous(np.zeros(50), differences, threshold=line, alpha=0.05, samples=400, seed=5)
        assert bootstrap_p_values(differences, [line], 400, 5) == [asked.p_value]


def test_a_blocking_rule_without_items_is_named() -> None:
    params = one_rule(0.1)
    with pytest.raises(ConfigError, match=r"blocking rule\(s\) kept"):
        simulate(params, params.rules, {}, runs=100, seed=0)


def test_items_of_the_shipped_settings() -> None:
    counts = item_counts(profile_settings("verify-7b").evaluate, ROOT)
    assert (counts["ceval"], counts["cmmlu"]) == (1346, 11582)
    assert counts["domain_keypoints"] == counts["domain_short"] >= 96


def test_from_a_runs_own_reports(run: Any) -> None:
    reports = {hop: run.report(hop) for hop in ("base", "adapter", "merged", "awq")}
    found = simulate_families(run.settings, ROOT, reports=reports, runs=100, seed=0)
    rule = found["families"]["gate"]["rules"][0]
    assert rule["source"] == "evaluated: merged and awq on 96 items"
    assert 0.03 < rule["spread"] < 0.12


def test_the_command_says_it_in_json_and_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEGATE_ROOT", str(ROOT))
    asked = ["simulate", "--runs", "100", "--assumed"]
    as_json = CliRunner().invoke(gate_command, [*asked, "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout)["ok"] is True
    words = CliRunner().invoke(gate_command, asked, catch_exceptions=False).stdout
    assert "equal models are blocked in 0.0 %" in words
    assert "both rates are within the bar" in words


def test_rules_a_profile_calls_blocking_can_be_asked() -> None:
    for name in PROFILES:
        found = profile_settings(name).gate
        assert all(isinstance(rule, GateRule) for rule in found.rules)
        assert {rule.metric for rule in (*found.rules, *found.champion_rules)} <= set(METRICS)
