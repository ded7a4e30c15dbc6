"""Kappa and alpha: published examples, another library, what is undefined, and an interval that covers."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tasks.review.agreement import alpha_of, coincidences, kappa_of, krippendorff_alpha, nominal, ranked


def spread(units_):
    """Each unit as an item of its own."""
    return {str(place): [unit] for place, unit in enumerate(units_)}


def test_two_observers_two_values_as_published():
    """Section A of the paper: 10 units, alpha 0.095."""
    first, second = "0100000000", "1110010010"
    found = alpha_of(spread(list(zip(map(int, first), map(int, second), strict=True))), (0, 1))
    assert found["value"] == pytest.approx(0.095, abs=0.0005)
    assert found["units"] == 10


def test_four_observers_five_values_and_gaps_as_published():
    """Section C: nominal 0.743; section E: interval 0.849."""
    table = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    found = spread([list(unit) for unit in zip(*table.values(), strict=True)])
    values = (1, 2, 3, 4, 5)
    assert alpha_of(found, values)["value"] == pytest.approx(0.743, abs=0.0005)
    assert alpha_of(found, values, ordered=True)["value"] == pytest.approx(0.849, abs=0.0005)
    assert alpha_of(found, values)["units"] == 11


@pytest.mark.parametrize("seed", range(8))
def test_kappa_is_scikit_learn_s(seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 4, 60), random.integers(0, 4, 60)
    second[:25] = first[:25]
    found = kappa_of(spread(list(zip(first.tolist(), second.tolist(), strict=True))), (0, 1, 2, 3))
    assert found["value"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-6)
    assert found["agree"] == pytest.approx((first == second).mean(), abs=1e-6)


def test_agreement_that_chance_gives_is_nothing():
    found = kappa_of(spread([(True, True), (True, False), (False, True), (False, False)] * 10), (False, True))
    assert found["value"] == pytest.approx(0, abs=1e-9)
    assert found["interval"][0] < 0 < found["interval"][1]


def test_where_all_say_one_thing_nothing_is_defined():
    """Ten times yes by both is not perfect agreement: they might say yes to anything."""
    alike = spread([(True, True)] * 10)
    assert kappa_of(alike, (False, True))["value"] is None
    assert alpha_of(alike, (False, True))["value"] is None
    assert kappa_of({}, (False, True)) == {"units": 0, "agree": None, "value": None, "interval": None}


def test_a_rater_of_one_word_neither_agrees_nor_disagrees():
    """A model whose every answer the scorer calls wrong: kappa is 0 whatever reviewers say, and would look exact."""
    found = kappa_of(spread([(True, False), (False, False), (False, False)] * 10), (False, True))
    assert (found["value"], found["interval"]) == (None, None)
    assert found["agree"] == pytest.approx(2 / 3, abs=1e-6)


def test_a_gap_is_no_opinion():
    found = kappa_of(spread([(True, None), (None, None), (True, True), (False, False)]), (False, True))
    assert (found["units"], found["value"]) == (2, 1.0)
    assert alpha_of(spread([(True, None), (None, False)]), (False, True))["units"] == 0


def test_a_step_on_a_scale_is_less_than_three():
    near, far = ([(0, 1), (3, 3)] * 8, [(0, 3), (3, 3)] * 8)
    values = (0, 1, 2, 3)
    assert alpha_of(spread(near), values, ordered=True)["value"] > alpha_of(spread(far), values, ordered=True)["value"]
    assert ranked(values)[0, 3] == 9 * ranked(values)[0, 1]


def test_answers_to_one_question_are_drawn_together():
    """Sixty units of twelve items tell less than sixty items: the interval is wider."""
    truths = {item: (item % 2 == 0, (item % 2 == 0) ^ (item in (3, 8))) for item in range(12)}
    together = {str(item): [pair] * 5 for item, pair in truths.items()}
    apart = spread([pair for pair in truths.values() for _ in range(5)])
    wide, narrow = (kappa_of(items, (False, True)) for items in (together, apart))
    assert wide["value"] == narrow["value"]
    assert wide["interval"][0] < narrow["interval"][0]
    assert wide["interval"][1] > narrow["interval"][1]


@pytest.mark.slow
def test_the_interval_covers():
    """Of 200 samples of two raters whose kappa is known, the interval holds it in about 95 of 100."""
    random = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        truth = random.random(60) < 0.5
        ratings = [truth ^ (random.random(60) < 0.15) for _ in range(2)]
        # Both right or both wrong: 0.85² + 0.15² = 0.745; chance 0.5.
        low, high = kappa_of(spread(list(zip(*(one.tolist() for one in ratings), strict=True))), (False, True))[
            "interval"
        ]
        held += low <= 0.49 <= high
    assert held >= 180


def test_a_table_that_is_added_wrongly_would_be_seen():
    """The planted fault: counting each pair once for a unit of three raters, not by 1 / (ratings - 1)."""
    unit = [True, True, False]
    table = coincidences(unit, (False, True))
    assert table.sum() == 3
    wrong = table * 2
    right_alpha = krippendorff_alpha(table + coincidences([True, False], (False, True)), nominal((0, 1)))
    assert right_alpha != krippendorff_alpha(wrong + coincidences([True, False], (False, True)), nominal((0, 1)))
