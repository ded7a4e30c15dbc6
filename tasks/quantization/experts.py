"""A mixture's experts as linear layers of their own: so AWQ, the screening and the checks see each of them.

transformers keeps all experts of a layer in one parameter, which none of these touches: the model would be written with
its experts, nearly all of its weights, in 16 bits.
"""

from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.models.architecture import has_experts
from tasks.models.weights import load_weights

PACKED_SUFFIX = ".weight_packed"


def load_apart(folder: Path, **options: Any) -> Any:
    """Return a model from safetensors in which each projection of each expert is a linear layer."""
    model = load_weights(folder, **options)
    if has_experts(folder):
        _set_apart(model)
    return model


def read_packed(folder: Path, compute: Any) -> Any:
    """Return a written 4-bit mixture unpacked, to be computed in the type `compute`.

    transformers 5.17 unpacks symmetric experts alone: it leaves the zero points of the others in the file.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    del config.quantization_config
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return kind.from_pretrained(None, config=config, state_dict=_unpacked(folder), dtype=compute)


def _set_apart(model: Any) -> None:
    """Replace each fused set of experts; the hint to load them so is dropped, as that needs torchvision."""
    from llmcompressor.modeling.moe.linearize import linearize_moe
    from loguru import logger

    logger.disable("llmcompressor.modeling.moe.linearize")
    linearize_moe(model)


def _unpacked(folder: Path) -> dict[str, Any]:
    """Return the tensors of a written model, 4-bit weights in bfloat16, by the decompressor of compressed-tensors."""
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    stored = {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}
    written = QuantizationConfig.model_validate(read_json(folder / "config.json")["quantization_config"])
    (scheme,) = written.config_groups.values()
    compressor = BaseCompressor.get_value_from_registry(written.format)
    layers = [name.removesuffix(PACKED_SUFFIX) for name in stored if name.endswith(PACKED_SUFFIX)]
    for layer in layers:
        parts = {
            name.rpartition(".")[2]: stored.pop(name)
            for name in [f"{layer}.weight_{part}" for part in ("packed", "scale", "zero_point", "shape")]
            if name in stored
        }
        stored[f"{layer}.weight"] = compressor.decompress(parts, scheme)["weight"].to(torch.bfloat16)
    return stored
