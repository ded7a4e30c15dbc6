"""The written files say whether a model is quantized: a quantize that did nothing is silent, planted here."""

import json

import pytest

from tasks.core.errors import DataContractError
from tasks.quantization.written import require_quantized, weight_bytes

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


def test_only_weights_count_as_bytes(written):
    folder = written(["a.weight"], {"model_type": "llama"})
    assert weight_bytes(folder) == (folder / "model.safetensors").stat().st_size
