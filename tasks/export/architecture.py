"""What llama.cpp must know of a model beside its weights: sizes and rotation, from config.json; the rest is refused.

Names and meaning of the keys: the package `gguf`, and llama.cpp's convert_hf_to_gguf.py, which no package carries.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.models.files import model_config

#: `architectures` of config.json -> llama.cpp's name of the same graph.
ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
#: Where llama.cpp turns neighbouring values of a head into each other, transformers turns its two halves.
INTERLEAVED = frozenset({"llama"})
HINT = "export safetensors instead, or a base of the Llama, Qwen2 or Qwen3 architecture: tunegate models list"


@dataclass(frozen=True)
class Shape:
    """The sizes of a model.

    Args:
        architecture: llama.cpp's name.
        blocks: transformer blocks.
        heads, kv_heads: attention heads of queries, and of keys and values.
        head_size: values a head has.
        config: config.json.
        rope: kind of the rotation's scaling and its numbers: {"rope_type": "default", "rope_theta": 10000.0}.
    """

    architecture: str
    blocks: int
    heads: int
    kv_heads: int
    head_size: int
    config: dict[str, Any]
    rope: dict[str, Any]

    @property
    def context_tokens(self) -> int:
        """The longest context the model was made for, in tokens."""
        return int(self.config["max_position_embeddings"])


def shape_of(folder: Path) -> Shape:
    """Return the sizes of the model in a folder.

    Raises:
        DataContractError: llama.cpp's graph for it is not one that is written here, or leaves out what the model uses.
    """
    config = model_config(folder)
    name = next(iter(config.get("architectures") or []), config.get("model_type", "without an architecture"))
    if name not in ARCHITECTURES:
        raise DataContractError(f"{folder}: {name} is not written as GGUF", HINT)
    if "quantization_config" in config:
        raise DataContractError(f"{folder}: its weights are quantized already", "export the hop merged")
    heads = int(config["num_attention_heads"])
    shape = Shape(
        ARCHITECTURES[name],
        int(config["num_hidden_layers"]),
        heads,
        int(config.get("num_key_value_heads") or heads),
        int(config.get("head_dim") or config["hidden_size"] // heads),
        config,
        _rope(config),
    )
    _require_usual(shape, folder, name)
    return shape


def write_sizes(writer: Any, shape: Shape) -> None:
    """Write the sizes and the rotation.

    Args:
        writer: a `gguf.GGUFWriter`.
        shape: of the model.
    """
    config = shape.config
    writer.add_block_count(shape.blocks)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(shape.rope["rope_theta"]))
    writer.add_vocab_size(config["vocab_size"])
    _write_scaling(writer, shape)


def rope_factors(shape: Shape) -> list[float] | None:
    """Return what each frequency of Llama 3's rotation is divided by, one a pair of values; None for other rotations.

    Source: transformers, modeling_rope_utils.py, `_compute_llama3_parameters`; llama.cpp reads them as a tensor.
    """
    rope = shape.rope
    if rope["rope_type"] != "llama3":
        return None
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    context = rope["original_max_position_embeddings"]
    factors = []
    for place in range(0, shape.head_size, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (place / shape.head_size)
        smooth = (context / wave - low) / (high - low)
        inside = 1 / ((1 - smooth) / factor + smooth) if high != low else 1.0
        factors.append(1.0 if wave < context / high else float(factor) if wave > context / low else inside)
    return factors


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotation's settings, as transformers 5 or as older files write them."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found["rope_type"] = found.get("rope_type") or found.pop("type", None) or "default"
    return found


def _write_scaling(writer: Any, shape: Shape) -> None:
    """Write how the rotation is stretched; Llama 3's way is a tensor of its own."""
    from gguf import RopeScalingType

    rope = shape.rope
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(
            int(rope.get("original_max_position_embeddings") or shape.context_tokens)
        )  # fmt: skip


def _require_usual(shape: Shape, folder: Path, name: str) -> None:
    """Refuse what llama.cpp's graph of this architecture computes otherwise."""
    config, rope = shape.config, shape.rope
    unusual = []
    if rope["rope_type"] not in ("default", "linear", "yarn", "llama3"):
        unusual.append(f"rope_type {rope['rope_type']}")
    if rope["rope_type"] == "yarn" and any(rope.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim")):
        unusual.append("a YaRN attention factor of its own")
    if float(rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        unusual.append("partial_rotary_factor")
    if config.get("use_sliding_window"):
        unusual.append("use_sliding_window")
    if shape.architecture == "qwen2" and shape.head_size * shape.heads != config["hidden_size"]:
        unusual.append(f"head_dim {shape.head_size}")
    if config.get("hidden_act", "silu") != "silu":
        unusual.append(f"hidden_act {config['hidden_act']}")
    if unusual:
        raise DataContractError(
            f"{folder}: {name} with {', '.join(unusual)} is not written as GGUF: llama.cpp would compute otherwise",
            HINT,
        )
