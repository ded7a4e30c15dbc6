"""Settings are replaced in the text of params.yaml; every other byte stays."""

from pathlib import Path

import pytest
import yaml

from tasks.core.errors import ConfigError
from tasks.sweep.params_text import with_settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "params.yaml").read_text("utf-8")


def test_comments_and_all_other_lines_stay():
    point = {"train.learning_rate": 1e-05, "train.lora.rank": 8, "train.parallel.strategy": "ddp",
             "train.parallel.processes": 2, "train.lora.target_modules": ["q_proj"]}  # fmt: skip
    new = with_settings(TEXT, point)
    changed = [line for line in new.splitlines() if line not in TEXT.splitlines()]
    assert changed == [
        "    rank: 8",
        "    target_modules: [q_proj]",
        "  parallel: {strategy: ddp, processes: 2}   # single | ddp | fsdp | zero3: docs/training.md",
        "  learning_rate: 1.0e-05",
    ]
    assert len(new.splitlines()) == len(TEXT.splitlines())
    assert yaml.safe_load(new)["train"]["learning_rate"] == 1e-05


def test_a_section_in_lines_is_replaced_and_what_follows_stays():
    base = {"source": "local", "id": "模型/甲: 一", "revision": None, "digest": "null"}
    new = with_settings(TEXT, {"base_model": base, "quantize.candidates": [{"scheme": "W4A16", "group_size": 32}]})
    found = yaml.safe_load(new)
    assert found["base_model"] == base
    assert found["quantize"]["candidates"] == [{"scheme": "W4A16", "group_size": 32}]
    assert "  finalists: 1                # the full AWQ takes a minute each\n" in new
    assert "# those whose groups divide every layer" in new


AWKWARD = ["yes", "1e-4", "", "null", "#甲", "2024-01-01", "a: b", "核", 1e22, -0.0, True, None]


@pytest.mark.parametrize("value", AWKWARD)
def test_values_are_read_as_they_were_meant(value):
    found = yaml.safe_load(with_settings("a: {b: 1}\n", {"a.b": value}))["a"]["b"]
    assert found == value
    assert type(found) is type(value)


def test_nothing_to_change_changes_nothing():
    assert with_settings(TEXT, {}) == TEXT


def test_an_anchor_that_carries_the_value_elsewhere_is_refused():
    with pytest.raises(ConfigError, match="cannot be replaced"):
        with_settings("a: &x {b: 1}\nc: *x\n", {"c.b": 2})


def test_a_key_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"has no train.lora.rnk"):
        with_settings(TEXT, {"train.lora.rnk": 2})
