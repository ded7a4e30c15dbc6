"""Layers with a recurrent state are refused when a base enters, in every way that configs name them."""

import json

import pytest

from tasks.core.errors import DataContractError
from tasks.models.architecture import recurrent_layers, require_trainable


@pytest.mark.parametrize(
    "model_type",
    ["qwen3_next", "falcon_h1", "nemotron_h", "jamba", "bamba", "zamba2", "mamba2", "recurrent_gemma",
     "granitemoehybrid", "minimax", "qwen3_5_text", "kimi_linear", "olmo_hybrid"],
)  # fmt: skip
def test_hybrid_bases_are_refused_with_the_reason(tmp_path, model_type):
    from transformers import AutoConfig

    # As published, and with nothing but the type.
    (tmp_path / "config.json").write_text(json.dumps(AutoConfig.for_model(model_type).to_dict(), default=str))
    with pytest.raises(DataContractError, match="layers that are no attention") as caught:
        require_trainable(tmp_path)
    assert "AWQ" in caught.value.message
    assert list(recurrent_layers({"model_type": model_type}))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"layers_block_type": ["attention", "mamba"]}, "mamba"),
        ({"block_types": ["recurrent", "attention"]}, "recurrent"),
        ({"model_type": "own", "text_config": {"layer_types": ["conv"]}}, "conv"),
        ({"model_type": "lfm2", "conv_L_cache": 3}, "conv_L_cache"),
        ({"hybrid_override_pattern": "M-M*"}, "hybrid_override_pattern"),
        ({"mamba_d_state": 128}, "mamba_d_state"),
    ],
)
def test_kinds_of_layers_and_settings_of_them_are_read(config, named):
    assert named in set(recurrent_layers(config))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"model_type": "qwen3_moe", "num_experts": 128, "mlp_only_layers": []},
        {"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]},
        {"model_type": "granitemoehybrid", "layer_types": ["attention", "attention"], "mamba_d_state": 256},
        {},
    ],
)
def test_attention_alone_enters(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    require_trainable(tmp_path)
