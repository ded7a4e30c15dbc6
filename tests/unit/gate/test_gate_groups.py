"""Rules over groups, an own alpha, what is not asked, how near two hops are, and the verdict explained."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.cli.gate import gate as gate_command
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.settings import GateParams
from tasks.gate.agreement import divergence
from tasks.gate.evidence import Report
from tasks.gate.explain import explanation
from tasks.gate.gate import gate
from tasks.gate.rules import check_rules, judge_rules
from tasks.gate.words import rule_words

ROOT = Path(__file__).parents[3]


def params(run: Any, **changes: Any) -> GateParams:
    """Return the gate with one rule over the subjects of an exam."""
    rule = {"name": "subjects", "metric": "ceval_accuracy", "hops": ["base", "awq"], "expect": "groups", "margin": 0.2,
            "alpha": None, "severity": "block"}  # fmt: skip
    plain = run.settings.gate.model_dump(mode="json") | {"rules": [rule | changes], "champion_rules": []}
    return GateParams.model_validate_json(json.dumps(plain))


def exam(hop: str, right: dict[str, list[int]]) -> Report:
    """Return a report of an exam: subject -> 0/1 of its items."""
    rows = {("ceval", f"{subject}/{n}"): {"metric": "accuracy", "value": float(value), "group": subject}
            for subject, values in right.items() for n, value in enumerate(values)}  # fmt: skip
    return Report(hop, Path(hop), {"suites": {"ceval": {"name": "ceval"}}, "metrics": {}}, rows)


def judged(asked: GateParams, base: dict[str, list[int]], awq: dict[str, list[int]]) -> dict[str, Any]:
    found: dict[str, Any] = judge_rules(asked, {"base": exam("base", base), "awq": exam("awq", awq)})[0]
    return found


SUBJECTS = [f"s{n}" for n in range(12)]
GOOD = dict.fromkeys(SUBJECTS, [1] * 60 + [0] * 20)


def test_no_group_lost(run: Any) -> None:
    found = judged(params(run), GOOD, GOOD)
    assert (found["outcome"], found["groups_asked"], found["n"]) == ("PASS", 12, 960)


def test_one_lost_subject_is_not_bought_back_by_the_average(run: Any) -> None:
    better = {subject: [1] * 80 for subject in SUBJECTS} | {"s3": [1] * 5 + [0] * 75}
    found = judged(params(run), GOOD, better)
    assert found["outcome"] == "FAIL"
    assert found["groups"][0]["group"] == "s3"
    words = rule_words(found, 0.05)
    assert "Of 12 groups with 960 items the one furthest from it is s3 (80 items): 75.0 % and 6.2 %" in words["words"]
    assert "s3" in words["words_zh"]


def test_small_groups_are_left_open(run: Any) -> None:
    few = {subject: [1, 1, 1, 0] for subject in SUBJECTS}
    found = judged(params(run), few, few)
    assert (found["outcome"], found["value"]) == ("INCONCLUSIVE", 0.75)
    assert judged(params(run), {**GOOD, "one": [1]}, {**GOOD, "one": [1]})["outcome"] == "INCONCLUSIVE"


def test_the_number_of_groups_counts(run: Any) -> None:
    # A loss that one subject alone would show, seen in one of twelve, is what chance does.
    lost = {"s0": [1] * 35 + [0] * 45}
    alone = judged(params(run), {"s0": GOOD["s0"]}, lost)
    beside = judged(params(run), GOOD, GOOD | lost)
    assert alone["p_opposite"] <= 0.05 < beside["p_opposite"]
    assert (alone["outcome"], beside["outcome"]) == ("FAIL", "INCONCLUSIVE")


def test_a_floor_for_every_group(run: Any) -> None:
    asked = params(run, hops=["awq", "awq"], margin=0.5)
    assert judged(asked, GOOD, GOOD)["outcome"] == "PASS"
    assert judged(asked, GOOD, GOOD | {"s5": [1] * 20 + [0] * 60})["outcome"] == "FAIL"
    assert judged(asked, GOOD, GOOD | {"s5": [1] * 41 + [0] * 39})["outcome"] == "INCONCLUSIVE"


@pytest.mark.slow
def test_equal_models_fail_a_rule_over_groups_at_most_at_alpha(run: Any) -> None:
    generator, failed, few = np.random.default_rng(0), 0, SUBJECTS[:5]
    for _ in range(60):
        sides = [{s: list((generator.random(40) < share).astype(int)) for s in few} for share in (0.7, 0.5)]
        failed += judged(params(run), *sides)["outcome"] == "FAIL"  # exactly at the line in every subject
    assert failed / 60 <= 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / 60)


def test_a_rules_own_alpha_is_stricter_and_never_looser(run: Any) -> None:
    near = {"s0": [1] * 54 + [0] * 26}
    assert judged(params(run), {"s0": GOOD["s0"]}, near)["outcome"] == "PASS"
    strict = judged(params(run, alpha=0.0001), {"s0": GOOD["s0"]}, near)
    assert (strict["outcome"], strict["alpha"]) == ("INCONCLUSIVE", 0.0001)
    with pytest.raises(ConfigError, match="may only be stricter"):
        check_rules(params(run, alpha=0.2))


def test_a_kind_the_pack_has_not_is_left_open_or_stops(run: Any) -> None:
    reported = params(run, metric="cmmlu_accuracy", severity="report")
    found = judged(reported, GOOD, GOOD)
    assert (found["outcome"], found["n"]) == ("INCONCLUSIVE", 0)
    assert "It was not asked" in rule_words(found, 0.05)["words"]
    with pytest.raises(DataContractError, match=r"0 item\(s\) of cmmlu_accuracy"):
        judged(params(run, metric="cmmlu_accuracy"), GOOD, GOOD)


def test_a_hop_asked_for_agreement_alone_carries_no_rule(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hop adapter, which was asked for agreement alone") as raised:
        gate(params(run, hops=["base", "adapter"]), output=tmp_path, **run.gate_inputs)
    assert "evaluate.adapter: full" in str(raised.value.hint)


logs = st.dictionaries(st.integers(0, 30), st.floats(0.001, 1), min_size=1, max_size=12)


def normalized(weights: dict[int, float]) -> dict[int, float]:
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


@hypothesis_settings(max_examples=80, deadline=None)
@given(first=logs, second=logs, kept=st.integers(1, 10))
def test_the_divergence_is_a_lower_bound(first: dict[int, float], second: dict[int, float], kept: int) -> None:
    tokens = first.keys() | second.keys()
    p, q = (normalized({token: weights.get(token, 0.001) for token in tokens}) for weights in (first, second))
    exact = sum(p[token] * math.log(p[token] / q[token]) for token in tokens)

    def top(side: dict[int, float]) -> dict[int, float]:
        return {token: math.log(side[token]) for token in sorted(side, key=lambda at: -side[at])[:kept]}

    assert -1e-9 <= divergence(top(p), top(q)) <= exact + 1e-6
    whole = {token: math.log(value) for token, value in p.items()}
    assert divergence(whole, {token: math.log(value) for token, value in q.items()}) == pytest.approx(exact, abs=1e-6)


def test_explain_names_rule_hop_items_and_next_step(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run.samples("awq")
    for row in rows:
        row["value"] += 0.6 * (row["suite"] == "domain_short")
    run.rewrite("awq", rows)
    output = run.root / "data/reports/gate"
    output.mkdir(parents=True)
    gate(run.settings.gate, output=output, **run.gate_inputs)
    said = explanation({"version": None, **read_json(output / "verdict.json")})
    for words in ("rule quantization_loss: FAIL, merged -> awq", "lost at hop awq", "items: domain_short/domain_short-",
                  "next: add smaller groups to quantize.candidates", "checks passed"):  # fmt: skip
        assert words in said, words
    (run.root / "dvc.yaml").touch()
    (run.root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.setenv("TUNEGATE_ROOT", str(run.root))
    found = CliRunner().invoke(gate_command, ["explain", "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["verdict"] == "FAIL"


def test_explain_without_a_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match="has not judged yet"):
        CliRunner().invoke(gate_command, ["explain"], catch_exceptions=False)
