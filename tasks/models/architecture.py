"""Which architectures can be trained, merged, quantized and served, and where; the others are refused by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.processor import cpu_has_amx
from tasks.models.files import model_config

#: Part of the name of a kind of layer that carries a recurrent or convolutional state.
_STATEFUL = ("linear", "mamba", "recurrent", "conv", "hybrid", "ssm", "rwkv", "delta", "rnn")
#: Keys that name each layer's kind, and keys that only models with recurrent layers have.
_KIND_KEYS = ("layer_types", "layers_block_type", "block_types", "_block_types")
_RECURRENT_KEYS = (
    "hybrid_override_pattern", "linear_num_key_heads", "linear_conv_kernel_dim", "mamba_d_state", "mamba_n_heads",
    "mamba_num_heads", "mamba_d_conv", "ssm_state_size", "ssm_cfg", "state_size", "lru_width", "conv_L_cache",
    "attn_layer_indices", "attn_type_list", "linear_attn_config", "rwkv_version",
)  # fmt: skip
_RECURRENT_TYPES = frozenset({
    "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "mamba",
    "mamba2", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text",
    "qwen3_next", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
})  # fmt: skip
#: Keys of config.json that count the experts of a layer.
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def has_experts(folder: Path) -> bool:
    """Tell whether a model is a mixture of experts, by its config.json."""
    config = model_config(folder)
    return any((part.get(key) or 0) > 1 for part in (config, config.get("text_config") or {}) for key in _EXPERT_KEYS)


def require_served_on_cpu(model: Path, adapter: Path | None) -> None:
    """Refuse what vLLM's CPU build cannot serve of a mixture: it would end at its start, or at the first request.

    Args:
        model: folder to be served.
        adapter: folder of the adapter on top of it.

    Raises:
        DataContractError: an adapter on a mixture (its kernel is Triton's), or 4-bit experts on a CPU without AMX
            (vllm 0.32, model_executor/layers/fused_moe: experts/triton_moe.py, experts/cpu_moe.py).
    """
    if not has_experts(model):
        return
    hint = "serve it on a GPU, or use a base without experts: tunegate models list"
    if adapter is not None:
        raise DataContractError(f"{model}: vllm's CPU build has no kernel for an adapter on a mixture of experts", hint)
    if model_config(model).get("quantization_config") and not cpu_has_amx():
        raise DataContractError(f"{model}: vllm's CPU build serves 4-bit experts on a CPU with AMX alone", hint)


def require_trainable(folder: Path) -> None:
    """Refuse a base with layers that are no attention: linear attention, Mamba, convolutions, alone or mixed in.

    Raises:
        DataContractError: the model has such layers; the message names them and why.
    """
    config = model_config(folder)
    found = sorted(set(recurrent_layers(config)))
    if found:
        raise DataContractError(
            f"{folder}: {config.get('model_type', 'the model')} has layers that are no attention "
            f"({', '.join(found)}). The adapter would leave out their projections, padding would enter their state, "
            "and AWQ has no rule to smooth them",
            "use a base with attention in every layer: tunegate models list",
        )


def recurrent_layers(config: dict[str, Any]) -> Iterator[str]:
    """Yield what in a config.json says that layers keep a state.

    The kind of every layer decides where the file gives it (Granite 4 has members with attention alone), else settings
    that only such layers have, or the model type.
    """
    for part in (config, config.get("text_config") or {}):
        kinds = [str(kind) for key in _KIND_KEYS if isinstance(part.get(key), list) for kind in part[key]]
        if kinds:
            yield from (kind for kind in kinds if any(word in kind.lower() for word in _STATEFUL))
            continue
        yield from (key for key in _RECURRENT_KEYS if part.get(key) is not None)
        if part.get("model_type") in _RECURRENT_TYPES:
            yield str(part["model_type"])
