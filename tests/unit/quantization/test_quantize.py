"""The stage on a real small model: written, chosen among several, the same bytes twice."""

import pytest

from tasks.core.digest import file_digests
from tasks.core.errors import ConfigError
from tasks.core.files import read_json
from tasks.core.settings import QuantizeCandidate
from tasks.quantization.quantize import quantize
from tasks.quantization.search import load, target_layers
from tasks.quantization.written import read_back

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def quantized(root, params, name, **changes):
    output = root / name
    output.mkdir()
    summary = quantize(
        params.model_copy(update=changes), output=output, merged=root / "merged", prepared=root / "prepared"
    )
    return output, summary


# llm-compressor leaves its offload hooks on the model; everything is in memory all the same.
@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules")
def test_two_runs_write_the_same_bytes_and_the_report_says_what_was_tried(small_model, quantize_params):
    changes = {"finalists": 2}
    first, summary = quantized(small_model, quantize_params, "first", **changes)
    second, _ = quantized(small_model, quantize_params, "second", **changes)
    assert file_digests(first) == file_digests(second)
    assert not (first / ".finalists").exists()
    report = read_json(first / "quantization.json")
    assert report["layers"] == summary["layers"] == 14
    assert report["calibration_rows"] == 4
    assert report["calibration"]["languages"] == {"en": 2, "zh": 2}
    assert report["heldout"]["rows"] == 3
    assert report["budget"] == {"candidates": 4, "finalists": 2}
    finalists = [row for row in report["candidates"] if row["loss_nats"] is not None]
    assert len(finalists) == 2
    chosen = next(row for row in report["candidates"] if row["chosen"])
    assert chosen["loss_nats"] == min(row["loss_nats"] for row in finalists) == report["after"]["loss_nats"]
    assert (chosen["scheme"], chosen["group_size"]) == (report["scheme"], report["group_size"])
    assert chosen["bytes"] == report["bytes_after"] < report["bytes_before"]
    assert report["before"]["top1_agreement"] == 1.0
    assert 0 < report["after"]["top1_agreement"] <= 1


@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules")
def test_what_is_measured_is_what_was_written(small_model, quantize_params):
    one = [QuantizeCandidate(scheme="W4A16_ASYM", group_size=32)]
    output, _ = quantized(small_model, quantize_params, "only", candidates=one)
    report = read_json(output / "quantization.json")
    assert report["candidates"][0]["screened_loss_nats"] is None
    weights = target_layers(read_back(output), ["lm_head"])
    assert set(weights) == set(target_layers(load(small_model / "merged"), ["lm_head"]))
    groups = weights["model.layers.0.mlp.up_proj"].weight.view(-1, 32)
    assert max(len(group.unique()) for group in groups) <= 16


def test_ignoring_every_layer_is_caught_before_it_ships(small_model, quantize_params):
    everything = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    with pytest.raises(ConfigError, match="no layer"):
        quantized(small_model, quantize_params, "none", ignore=everything)


def test_groups_that_fit_no_layer_are_named(small_model, quantize_params):
    wrong = [QuantizeCandidate(scheme="W4A16", group_size=48)]
    with pytest.raises(ConfigError, match=r"\[48\]"):
        quantized(small_model, quantize_params, "wrong", candidates=wrong)


@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules")
@pytest.mark.parametrize("setting", ["float32", "16-bit"])
def test_written_in_bf16_whatever_it_was_computed_in(small_model, quantize_params, monkeypatch, setting):
    from safetensors.torch import load_file

    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", setting)
    output, _ = quantized(small_model, quantize_params, "only", candidates=quantize_params.candidates[:1])
    kinds = {str(tensor.dtype) for tensor in load_file(output / "model.safetensors").values()}
    assert kinds <= {"torch.bfloat16", "torch.int32", "torch.int64"}
    assert read_json(output / "config.json")["dtype"] == "bfloat16"
