"""The halves never share an item; luck on one does not pass on the other; the family is counted."""

import random

import pytest

from tasks.core.errors import DataContractError
from tasks.gate.evidence import METRICS, read_report
from tasks.sweep.comparison import conclude, require_comparable, selection_value
from tasks.sweep.halves import halve, halves_of, heldout_digest, of_half
from tests.made_reports import SUITE, noise, samples, write_evaluation

METRIC = "domain_bits_per_byte"
SEED = 42


@pytest.fixture
def evaluated(tmp_path):
    """Makes the report of a trial that gains so much at each item."""

    def make(gain=lambda item: 0.0, *, who=0, items=60, more=(), canary=True):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write_evaluation(folder, "awq", [*samples(items, gain, who), *more], canary=canary)
        return read_report("awq", folder)

    return make


@pytest.fixture
def gate(settings):
    return settings.gate


def test_halves_are_disjoint_whole_even_and_the_same_in_any_order():
    keys = [(suite, f"第{number}题") for suite in ("domain_short", "safety") for number in range(21)]
    halves = halve(keys, SEED)
    assert not halves.selection & halves.heldout
    assert halves.selection | halves.heldout == set(keys)
    assert len(halves.selection) == 22
    random.Random(1).shuffle(keys)
    assert halve(keys, SEED) == halves
    assert halve(keys, SEED + 1) != halves


def test_an_item_that_two_suites_score_is_in_the_same_half_of_both():
    keys = [(suite, f"第{number}题") for suite in ("domain_short", "domain_keypoints") for number in range(30)]
    halves = halve(keys, SEED)
    sides = [{item for suite, item in halves.heldout if suite == name} for name in ("domain_short", "domain_keypoints")]
    assert sides[0] == sides[1]


def test_too_few_items_are_refused(evaluated):
    with pytest.raises(DataContractError, match="the held-out half has 1"):
        halves_of(evaluated(items=3), METRIC, SEED)


def test_a_trial_that_is_better_everywhere_wins_and_is_shown(evaluated, gate):
    reports = {0: evaluated(), 1: evaluated(lambda item: -0.05, who=1), 2: evaluated(lambda item: 0.05, who=2)}
    result = conclude(reports, METRIC, gate, SEED)
    assert result["winner"] == 2
    assert result["heldout"]["shown"]
    assert result["heldout"]["n"] == result["items"]["heldout"] == 30
    assert result["heldout"]["difference"] == pytest.approx(-0.05, abs=0.01)


def test_a_trial_that_knows_only_the_half_it_is_chosen_on_is_not_shown(evaluated, gate):
    """The planted fault: were both halves the same items, every one would be shown; so one in twenty is."""
    present = evaluated()
    chosen = {item for _, item in halves_of(present, METRIC, SEED).selection}
    lucky = (evaluated(lambda item: 0.1 * (item in chosen), who=who) for who in range(1, 41))
    results = [conclude({0: present, 1: trial}, METRIC, gate, SEED) for trial in lucky]
    assert all(result["winner"] == 1 and result["trials"][0]["p_adjusted"] < 0.01 for result in results)
    assert sum(result["heldout"]["shown"] for result in results) <= 6


def test_where_nothing_is_better_the_settings_stay_and_nobody_looks_at_the_rest(evaluated, gate):
    result = conclude({0: evaluated(), 1: evaluated(lambda item: -0.1, who=1)}, METRIC, gate, SEED)
    assert (result["winner"], result["heldout"], result["others"]) == (0, None, None)


def test_an_equal_trial_does_not_replace_the_settings(evaluated, gate):
    assert conclude({0: evaluated(), 1: evaluated()}, METRIC, gate, SEED)["winner"] == 0


def test_the_family_is_counted(evaluated, gate):
    """One lucky p-value among many is adjusted for all of them."""
    reports = {0: evaluated()} | {
        number: evaluated(lambda item, number=number: 0.004 * (number == 3), who=number) for number in range(1, 9)
    }
    result = conclude(reports, METRIC, gate, SEED)
    best = min(result["trials"], key=lambda row: row["p_value"])
    assert result["compared"] == 8
    assert best["trial"] == 3
    assert best["p_adjusted"] == pytest.approx(8 * best["p_value"], rel=1e-3)


def test_a_sampler_is_told_of_the_selection_half_alone(evaluated):
    present = evaluated()
    chosen = {item for _, item in halves_of(present, METRIC, SEED).selection}
    other = evaluated(lambda item: 0.0 if item in chosen else 5.0)
    assert selection_value(other, METRIC, SEED) == selection_value(present, METRIC, SEED)


def test_right_or_wrong_items_go_by_the_exact_test_and_other_metrics_are_shown(evaluated, gate):
    def answers(share, who):
        return [{"suite": "safety", "item_id": f"安全{number}", "metric": "accuracy",
                 "value": float(noise(number, who) < share)} for number in range(80)]  # fmt: skip

    reports = {0: evaluated(more=answers(0.3, "a")), 1: evaluated(lambda item: 0.1, more=answers(0.9, "b"), who=1)}
    result = conclude(reports, "safety_accuracy", gate, SEED)
    assert result["heldout"]["test"] == "exact McNemar"
    assert result["heldout"]["shown"]
    assert [row["metric"] for row in result["others"]] == [METRIC]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"canary": False}, "canary failed"), ({"items": 61}, "other items: domain_short/第60题"),
     ({"gain": lambda item: float("nan")}, "a score is no number")],
)  # fmt: skip
def test_a_trial_whose_numbers_mean_nothing_is_refused(evaluated, changes, words):
    present = evaluated()
    trial = evaluated(**{key: value for key, value in changes.items() if key != "gain"})
    if "gain" in changes:
        trial.samples[SUITE, "第7题"]["value"] = None
    with pytest.raises(DataContractError, match=words):
        require_comparable(present, trial, METRIC)


def test_the_digest_of_the_held_out_items_knows_them_and_nothing_else(evaluated):
    assert heldout_digest(evaluated(), METRIC, SEED) == heldout_digest(evaluated(lambda item: 1.0), METRIC, SEED)
    assert heldout_digest(evaluated(items=58), METRIC, SEED) != heldout_digest(evaluated(), METRIC, SEED)


def test_a_half_of_a_report_has_no_item_of_the_other(evaluated):
    report = evaluated()
    halves = halves_of(report, METRIC, SEED)
    assert set(of_half(report, halves.heldout).keys_of(METRICS[METRIC])) == set(halves.heldout)
