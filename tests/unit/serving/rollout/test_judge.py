"""A rollout's course: equal models reach the end, losses do not, by simulation through the code that real ones take."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tasks.cli.gate import gate as gate_command
from tasks.core.settings import load_settings
from tasks.serving.rollout import simulation
from tasks.serving.rollout.judge import ABORTED, METRICS, PROMOTED, RUNNING, TESTS, Block, Course, evidence_words
from tasks.serving.rollout.simulation import BAR, rollout_words, simulate_rollouts

ROOT = Path(__file__).parents[4]
PROFILES = sorted(path.stem for path in (ROOT / "infra/profiles").glob("*.yaml"))


@pytest.fixture(scope="module")
def params():
    return load_settings(ROOT / "params.yaml").promote.rollout


def course_of(params, rates, generator, *, blocks=400, arrived=60) -> Course:
    """Run 200 rollouts; `rates(block)` gives the shares of both arms in that block, shape (2, metrics)."""
    course = Course(params, 200)
    for block in range(blocks):
        count = np.full(200, arrived) * (course.outcome == RUNNING)
        to_candidate = generator.binomial(count, course.percent / 100)
        n = np.stack([count - to_candidate, to_candidate])
        hits = generator.binomial(n[:, :, None], rates(block)[:, None, :])
        course.add(Block(n.astype(float), hits.astype(float)))
    return course


@pytest.mark.slow
def test_equal_models_pass_and_losses_are_caught(params):
    found = simulate_rollouts(params, rollouts=200, seed=7)
    assert found["ok"], rollout_words(found)
    assert found["equal"]["aborted"] <= BAR
    assert found["equal"]["promoted"] > 0.9
    assert [(row["share"], row["direction"]) for row in found["losses"]] == [
        (name, "up" if sign > 0 else "down") for name, sign in TESTS
    ]
    assert all(row["caught"] >= 1 - BAR and row["aborted"] > 0.9 for row in found["losses"])
    assert found["equal"]["needed"]["candidate_requests"]["median"] < 400
    assert simulate_rollouts(params, rollouts=200, seed=7) == found


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_within_the_bar(name):
    found = simulate_rollouts(load_settings(ROOT / "infra/profiles" / f"{name}.yaml").promote.rollout,
                              rollouts=2000, seed=11)  # fmt: skip
    assert found["ok"], rollout_words(found)


def test_shares_that_change_with_the_hour_abort_nobody(params):
    """Both arms meet the same bad hour: ten times the errors, half of the answers slow."""

    def rates(block):
        bad = block % 20 >= 10
        shares = [0.1 if bad else 0.01, 0.5 if bad else 0.05, 0.2 if bad else 0.05, 0.05]
        return np.array([shares, shares])

    course = course_of(params, rates, np.random.default_rng(1))
    assert (course.outcome == ABORTED).mean() <= BAR


@pytest.mark.slow
def test_a_planted_peek_would_be_seen(params):
    """The same simulation over a threshold without the correction: equal models are aborted too often."""
    lax = params.model_copy(update={"alpha": 1.0})
    rates = np.array([list(simulation.SHARES.values())] * 2)
    strict = course_of(params, lambda block: rates, np.random.default_rng(2))
    loose = course_of(lax, lambda block: rates, np.random.default_rng(2))
    assert (strict.outcome == ABORTED).mean() <= BAR < (loose.outcome == ABORTED).mean()


def test_a_quiet_gateway_leaves_it_undecided(params):
    hour = params.model_copy(update={"longest_s": 3600.0})
    found = simulate_rollouts(hour, rollouts=50, seed=1, requests_per_minute=0.5)
    assert found["equal"]["undecided"] > 0.9
    assert "undecided and taken back" in rollout_words(found)


def test_steps_wait_for_requests_and_the_last_for_the_evidence(params):
    course = Course(params)
    quiet = Block(np.array([[90.0], [10.0]]), np.zeros((2, 1, len(METRICS))))
    percents = []
    while course.outcome[0] == RUNNING:
        percents.append(float(course.percent[0]))
        course.add(quiet)
    assert percents[:7] == [1.0] * 3 + [10.0] * 3 + [50.0]
    assert course.outcome[0] == PROMOTED
    assert course.judge.n[1][0] >= params.least_requests


def test_one_arm_alone_says_nothing(params):
    course = Course(params)
    hits = np.zeros((2, 1, len(METRICS)))
    hits[1, 0, 0] = 50
    course.add(Block(np.array([[0.0], [50.0]]), hits))
    assert (course.judge.log_abort == 0).all()
    assert (course.judge.log_pass == 0).all()


def test_evidence_names_counts_and_e_values(params):
    course = Course(params)
    hits = np.zeros((2, 1, len(METRICS)))
    hits[1, 0, METRICS.index("error")] = 30
    course.add(Block(np.array([[300.0], [30.0]]), hits))
    evidence = course.judge.evidence()
    assert course.outcome[0] == ABORTED
    assert evidence["arms"] == {
        "live": {"requests": 300, "error": 0, "slow": 0, "refusal": 0, "unknown": 0},
        "candidate": {"requests": 30, "error": 30, "slow": 0, "refusal": 0, "unknown": 0},
    }
    assert evidence["tests"][0]["abort_e"] >= evidence["tests"][0]["abort_at"] == len(TESTS) / params.alpha
    assert "300 live and 30 candidate requests: error 0 and 30" in evidence_words(evidence)


def test_steps_must_rise(params):
    with pytest.raises(ValueError, match="must rise"):
        params.model_validate(params.model_dump() | {"steps_percent": [10.0, 5.0]})
    with pytest.raises(ValueError, match="must rise"):
        params.model_validate(params.model_dump() | {"steps_percent": [10.0, 100.0]})


def test_the_command_says_both_rates(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    done = CliRunner().invoke(gate_command, ["simulate", "--canary", "--runs", "100"])
    assert done.exit_code == 0, done.output
    assert "equal model: aborted in" in done.output
    assert "both rates are within the bar" in done.output
