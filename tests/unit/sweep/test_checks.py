"""Settings are held to the schema before anything starts, all faults at once; the ruler is not swept."""

from pathlib import Path

import pytest
import yaml

from tasks.core.errors import ConfigError
from tasks.sweep.checks import changed, require_known, require_measurable, require_sound, sections_of, stages_up_to
from tasks.sweep.space import parse_space

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def values():
    return yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))


def test_only_the_stages_that_a_hop_needs():
    assert [stage.name for stage in stages_up_to("base")] == ["prepare", "evaluate@base"]
    assert [stage.name for stage in stages_up_to("merged")] == [
        "prepare", "validate", "train", "merge", "evaluate@merged",
    ]  # fmt: skip
    assert "quantize" in sections_of("awq")
    assert not any(section.startswith("evaluate") for section in sections_of("awq"))


def test_settings_that_stages_read_are_taken(values):
    space = parse_space(["train.learning_rate=1,0.001..0.01", "train.lora.rank=8,16", "base_model.revision=null,v1"])
    with pytest.raises(ConfigError, match=r"train.learning_rate = '0.001..0.01'"):
        require_known(space, "awq", values)
    require_known(parse_space(["train.lora.rank=8,16", "serve.vllm.dtype=float16"]), "awq", values)


def test_every_fault_is_named_at_once(values):
    space = parse_space(
        ["train.learning_rte=1", "evaluate.concurrency=3", "promote.soak_s=3", "train.lora.rank=八,0,8,true",
         "quantize.finalists=0..3"]
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        require_known(space, "awq", values)
    text = caught.value.message
    assert "7 problem(s)" in text
    assert "train.learning_rte: params.yaml has no such key; train.learning_rate?" in text
    assert "evaluate.concurrency: it says what the trials are measured with" in text
    assert "promote.soak_s: no stage up to evaluate@awq reads it" in text
    assert "train.lora.rank = '八': Input should be a valid integer" in text
    assert "train.lora.rank = True" in text
    assert "train.lora.rank = 8" not in text
    assert "quantize.finalists = 0" in text


def test_a_setting_that_only_a_later_hop_reads_is_refused(values):
    with pytest.raises(ConfigError, match=r"no stage up to evaluate@merged reads it"):
        require_known(parse_space(["quantize.calibration_rows=8,16"]), "merged", values)


def test_values_that_do_not_go_together_are_refused_by_combination(values):
    points = [{"train.parallel.strategy": "ddp"}, {"train.parallel.strategy": "ddp", "train.parallel.processes": 1}]
    with pytest.raises(ConfigError, match=r"train.parallel.strategy=ddp train.parallel.processes=1: train.parallel"):
        require_sound(points, values)
    require_sound([{"train.lora.rank": 8}], values)


@pytest.mark.parametrize(
    ("hop", "metric", "words"),
    [("adapter", "domain_bits_per_byte", "evaluate.adapter: full"), ("awq", "ceval", "unknown metric"),
     ("gguf", "ceval_accuracy", "unknown hop")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(values, hop, metric, words):
    with pytest.raises(ConfigError, match=words):
        require_measurable(hop, metric, values)


def test_changing_a_value_leaves_the_given_ones_alone(values):
    before = yaml.safe_dump(values)
    assert changed(values, {"train.lora.rank": 99})["train"]["lora"]["rank"] == 99
    assert yaml.safe_dump(values) == before
