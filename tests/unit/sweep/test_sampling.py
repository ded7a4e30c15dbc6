"""Grids, draws and Optuna: the same history gives the same next trial."""

import importlib.util
import sys

import pytest

from tasks.core.errors import ConfigError, MissingToolError
from tasks.sweep.sampling import Told, make_sampler
from tasks.sweep.space import parse_space

HAS_OPTUNA = importlib.util.find_spec("optuna") is not None
SPACE = parse_space(["a=1,2", "b=甲,乙,丙"])
WIDE = parse_space(["rate=1e-4..1e-2:log", "rank=4..64", "mode=[[q], [q, v]]"])
PRESENT = {"rate": 0.002, "rank": 16, "mode": ["q"]}


def test_a_grid_is_every_combination_in_order():
    sampler = make_sampler("grid", SPACE, None, 0, {})
    assert sampler.total == 6
    assert sampler.checked[0] == {"a": 1, "b": "甲"}
    assert sampler.ask([Told({}, 1.0)], lower_is_better=True) == {"a": 1, "b": "乙"}


def test_draws_are_distinct_and_follow_the_seed():
    drawn = make_sampler("random", SPACE, 4, 7, {}).checked
    assert len(drawn) == 4
    assert all(drawn.count(point) == 1 for point in drawn)
    assert make_sampler("random", SPACE, 4, 7, {}).checked == drawn
    assert make_sampler("random", SPACE, 99, 7, {}).total == 6


@pytest.mark.parametrize(
    ("name", "space", "trials", "words"),
    [("grid", WIDE, None, "rate, rank has a range"), ("grid", SPACE, 3, "runs all"),
     ("random", SPACE, None, "--trials"),
     ("random", SPACE, 501, "more than 500"),
     ("grid", parse_space([f"k{n}=1,2,3,4,5,6,7,8" for n in range(4)]), None, "4096 combinations")],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(name, space, trials, words):
    with pytest.raises(ConfigError, match=words):
        make_sampler(name, space, trials, 0, {})


def test_tpe_without_optuna_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingToolError) as caught:
        make_sampler("tpe", WIDE, 8, 0, PRESENT)
    assert caught.value.hint.startswith("make setup")


@pytest.mark.skipif(not HAS_OPTUNA, reason="an environment from before Optuna was in the lock")
def test_tpe_follows_its_history_alone_and_goes_where_the_values_are_good():
    sampler = make_sampler("tpe", WIDE, 24, 0, PRESENT)
    told: list[Told] = []
    for _ in range(24):
        point = sampler.ask(told, lower_is_better=True)
        assert point == sampler.ask(told, lower_is_better=True)
        assert 1e-4 <= point["rate"] <= 1e-2
        assert 4 <= point["rank"] <= 64
        # A failed trial is told, too.
        told.append(Told(point, None if len(told) == 2 else abs(point["rank"] - 60) + 10.0 * (point["mode"] == ["q"])))
    late = [one.point for one in told[-8:]]
    assert sum(point["mode"] == ["q", "v"] for point in late) > 4
    assert sum(point["rank"] > 40 for point in late) > 4


def test_a_list_goes_on_behind_the_trials_under_way():
    sampler = make_sampler("grid", parse_space(["a=1,2,3"]), None, 0, {})
    assert sampler.ask([Told({"a": 1}, 1.0)], pending=[{"a": 2}], lower_is_better=True) == {"a": 3}


@pytest.mark.skipif(not HAS_OPTUNA, reason="an environment from before Optuna was in the lock")
def test_tpe_keeps_away_from_trials_under_way():
    space = parse_space(["rate=0.0..1.0"])
    sampler = make_sampler("tpe", space, 24, 0, {"rate": 0.5})
    told = [Told({"rate": one / 12}, abs(one / 12 - 0.5)) for one in range(12)]
    near = {"pending": [], "alone": []}
    for seed in range(12):
        sampler.seed = seed
        pending = [{"rate": 0.45 + 0.01 * one} for one in range(10)]
        near["pending"].append(abs(sampler.ask(told, pending=pending, lower_is_better=True)["rate"] - 0.5) < 0.06)
        more = [*told, *(Told({"rate": 0.45 + 0.01 * one}, None) for one in range(10))]
        near["alone"].append(abs(sampler.ask(more, lower_is_better=True)["rate"] - 0.5) < 0.06)
    assert sum(near["pending"]) < sum(near["alone"])
