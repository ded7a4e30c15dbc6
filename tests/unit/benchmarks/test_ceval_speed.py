"""The C-Eval benchmark's own arithmetic: ratios by tokens, agreement, near ties, bars."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "ceval_speed.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("ceval_speed", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(ours_s=10.0, hf_s=20.0, local_s=50.0, hf_logprobs=None):
    answers = {f"law/{number}": [-1.0, -2.0, -3.0, -4.0] for number in range(100)}
    return {
        "ours": {"seconds": ours_s, "tokens": 1000, "logprobs": answers},
        "hf": {"seconds": hf_s, "tokens": 1000, "logprobs": answers | (hf_logprobs or {})},
        "local-completions": {"seconds": local_s, "tokens": 500, "logprobs": {"law/0": answers["law/0"]}},
    }


def test_a_sample_is_scaled_by_its_tokens(benchmark):
    rows = benchmark.summary(found())
    assert rows["local-completions"]["seconds_for_all"] == 100.0
    assert rows["local-completions"]["ours_is_faster"] == 10.0
    assert rows["hf"]["ours_is_faster"] == 2.0
    assert benchmark.broken_bars(rows) == []


def test_slow_is_a_broken_bar(benchmark):
    broken = benchmark.broken_bars(benchmark.summary(found(ours_s=14.0)))
    assert [bar.partition(",")[0] for bar in broken] == ["1.43x of hf", "7.14x of local-completions"]


def test_other_answers_are_a_broken_bar_and_near_ties_are_told_apart(benchmark):
    changed = {"law/1": [-2.0, -1.0, -3.0, -4.0], "law/2": [-1.01, -1.0, -3.0, -4.0]}
    rows = benchmark.summary(found(hf_logprobs=changed))
    assert (rows["hf"]["same_answers"], rows["hf"]["different_beyond_near_ties"]) == (0.98, 1)
    assert benchmark.broken_bars(rows) == ["same answers as hf 98.00%, bar 99%"]
