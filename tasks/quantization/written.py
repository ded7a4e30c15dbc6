"""The written model: is every layer quantized, how large is it, and what do the files answer when read back."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.core.processor import compute_dtype
from tasks.models.architecture import has_experts
from tasks.models.weights import load_weights
from tasks.quantization.experts import PACKED_SUFFIX, read_packed

#: Scheme -> the format that config.json names, how a layer's weight ends, and its type in the file.
WRITTEN = {
    "W4A16": ("pack-quantized", PACKED_SUFFIX, "I32"),
    "W4A16_ASYM": ("pack-quantized", PACKED_SUFFIX, "I32"),
    "W8A8": ("int-quantized", ".weight", "I8"),
    "FP8_DYNAMIC": ("float-quantized", ".weight", "F8_E4M3"),
}


def require_quantized(folder: Path, layers: set[str], scheme: str = "W4A16") -> None:
    """Check on the written files that every layer is in the scheme's type (a quantize that did nothing is silent).

    Args:
        folder: the written model.
        layers: module names that must be so.
        scheme: of the candidate.

    Raises:
        DataContractError: the config does not say so, or a layer is not.
    """
    form, suffix, kind = WRITTEN[scheme]
    written = {name.removesuffix(suffix) for name, found in _kinds(folder) if name.endswith(suffix) and found == kind}
    config = read_json(folder / "config.json").get("quantization_config")
    if missing := sorted(layers - written):
        raise DataContractError(
            f"quantization did nothing to {len(missing)} of {len(layers)} layers, first {missing[0]}",
            "check quantize.ignore in params.yaml and the llmcompressor version in the lock",
        )
    if not config or config.get("format") != form:
        raise DataContractError(f"{folder / 'config.json'} has no {form} quantization_config", "tunegate run")


def _kinds(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each stored tensor's name and type, as safetensors calls it."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                yield name, tensors.get_slice(name).get_dtype()


def computed_in() -> Any:
    """Return the type that models are measured and calibrated in."""
    import torch

    return compute_dtype(accelerated=torch.accelerator.is_available())


def read_back(folder: Path) -> Any:
    """Return the written model with its weights unpacked: what is measured is what was written."""
    from transformers.utils.quantization_config import CompressedTensorsConfig

    unpacked = CompressedTensorsConfig(dequantize=True)
    if has_experts(folder):
        return read_packed(folder, computed_in())
    with warnings.catch_warnings():
        # That the file's own config wins except for how it is loaded is just what is asked for here.
        warnings.filterwarnings("ignore", message="You passed `quantization_config`")
        return load_weights(folder, dtype=computed_in(), quantization_config=unpacked)


def weight_bytes(folder: Path) -> int:
    """Return the size of a model's weights on disk, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
