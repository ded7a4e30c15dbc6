"""A quantize that did nothing is silent: planted on written files, and shown not to happen on a real small model."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_jsonl
from tasks.core.settings import load_settings
from tasks.quantization.quantize import quantize, require_quantized

PARAMS = load_settings(Path(__file__).parents[3] / "params.yaml").quantize
LAYERS = {"model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"}
PACKED = {"quantization_config": {"format": "pack-quantized"}}


@pytest.fixture
def written(tmp_path):
    """Write a model folder with these tensor names and this config."""

    def write(names, config):
        import numpy as np
        from safetensors.numpy import save_file

        save_file({name: np.zeros(2, np.int32) for name in names}, str(tmp_path / "model.safetensors"))
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return write


def test_all_layers_packed_passes(written):
    require_quantized(written([f"{layer}.weight_packed" for layer in LAYERS], PACKED), LAYERS)


def test_no_op_quantization_is_caught(written):
    folder = written([f"{layer}.weight" for layer in LAYERS], {})
    with pytest.raises(DataContractError, match="did nothing to 2 of 2 layers"):
        require_quantized(folder, LAYERS)


def test_one_forgotten_layer_is_named(written):
    folder = written(["model.layers.0.mlp.up_proj.weight_packed", "model.layers.0.mlp.down_proj.weight"], PACKED)
    with pytest.raises(DataContractError, match=r"1 of 2 layers, first model\.layers\.0\.mlp\.down_proj"):
        require_quantized(folder, LAYERS)


def test_packed_weights_without_the_config_vllm_reads_are_caught(written):
    folder = written([f"{layer}.weight_packed" for layer in LAYERS], {"model_type": "llama"})
    with pytest.raises(DataContractError, match="quantization_config"):
        require_quantized(folder, LAYERS)


@pytest.fixture
def small_model(tmp_path):
    """A random two-block Llama with the laptop base's tokenizer, and a prepared folder with calibration rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tasks.core.project import Project
    from tasks.models.base import materialize

    root = Path(__file__).parents[3]
    base = materialize(load_settings(root / "params.yaml").base_model, Project(root)).path
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=49152, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "merged" / name).write_bytes((base / name).read_bytes())
    answer = {"role": "assistant", "content": "听通知。"}
    rows = [{"messages": [{"role": "user", "content": f"第{n}问：何时隐蔽？"}, answer]} for n in range(4)]
    write_jsonl(tmp_path / "prepared" / "calibration.jsonl", rows)
    return tmp_path


def _quantized(root, name, **changes):
    output = root / name
    output.mkdir()
    params = PARAMS.model_copy(update={"grid_points": 3, "calibration_rows": 4, **changes})
    quantize(params, output=output, merged=root / "merged", prepared=root / "prepared")
    return output


# llm-compressor leaves its offload hooks on the model; everything is in memory all the same.
@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules")
@pytest.mark.slow
def test_two_runs_write_the_same_bytes(small_model):
    from tasks.core.digest import file_digests

    first, second = _quantized(small_model, "first"), _quantized(small_model, "second")
    assert file_digests(first) == file_digests(second)
    report = read_json(first / "quantization.json")
    assert report["layers"] == 14
    assert report["calibration_rows"] == 4


@pytest.mark.slow
def test_ignoring_every_layer_is_caught_before_it_ships(small_model):
    everything = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    with pytest.raises((DataContractError, ConfigError)):
        _quantized(small_model, "none", ignore=everything)


def test_no_calibration_rows_is_clear(tmp_path):
    from tasks.quantization.quantize import _calibration_rows

    write_jsonl(tmp_path / "calibration.jsonl", [])
    with pytest.raises(DataContractError, match="has no rows"):
        _calibration_rows(tmp_path / "calibration.jsonl", None, PARAMS)
