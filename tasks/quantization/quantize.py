"""AWQ (Lin et al. 2023, https://arxiv.org/abs/2306.00978): merged bf16 weights to W4A16, written as safetensors."""

import json
import logging
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, write_json
from tasks.core.progress import Progress
from tasks.core.settings import QuantizeCandidate, QuantizeParams
from tasks.models.safety import require_safe
from tasks.quantization.candidates import fitting
from tasks.quantization.pinned_memory import unpinned_without_accelerator

log = logging.getLogger(__name__)

PACKED_SUFFIX = ".weight_packed"


def quantize(params: QuantizeParams, *, output: Path, merged: Path, prepared: Path) -> dict[str, Any]:
    """Quantize the merged model and check that it was.

    Args:
        params: scheme, group sizes, calibration.
        output: gets a Hugging Face folder in the compressed-tensors format (vLLM detects it) and quantization.json.
        merged: bf16 folder in safetensors.
        prepared: holds calibration.jsonl, rows of the training split.

    Returns:
        {"group_size", "layers", "bytes_before", "bytes_after"}.

    Raises:
        DataContractError: no calibration rows, or layers that should be 4-bit are not.
        ConfigError: no layer is left to quantize, or no group size fits the model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    require_safe(merged)
    torch.manual_seed(params.seed)
    model: Any = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.bfloat16)
    tokenizer: Any = AutoTokenizer.from_pretrained(merged)
    layers = _target_layers(model, params.ignore)
    if not layers:
        raise ConfigError("quantize.ignore leaves no layer to quantize", "edit quantize.ignore in params.yaml")
    chosen = fitting(params.candidates, (layer.in_features for layer in layers.values()))[0]
    rows = _calibration_rows(prepared / "calibration.jsonl", tokenizer, params)
    log.info(
        "quantize: %d layers to 4 bits in groups of %d, %d calibration rows", len(layers), chosen.group_size, len(rows)
    )
    _compress(model, tokenizer, params, chosen, rows)
    model.save_pretrained(output, save_compressed=True)
    tokenizer.save_pretrained(output)
    require_quantized(output, set(layers))
    report = {
        "scheme": chosen.scheme,
        "group_size": chosen.group_size,
        "layers": len(layers),
        "ignored": params.ignore,
        "calibration_rows": len(rows),
        "calibration_tokens": sum(len(row["input_ids"]) for row in rows),
        "bytes_before": _weight_bytes(merged),
        "bytes_after": _weight_bytes(output),
    }
    write_json(output / "quantization.json", report)
    return {key: report[key] for key in ("group_size", "layers", "bytes_before", "bytes_after")}


def require_quantized(folder: Path, layers: set[str]) -> None:
    """Check on the written files that every layer is packed to 4 bits (a quantize that did nothing is silent).

    Args:
        folder: the written model.
        layers: module names that must be packed.

    Raises:
        DataContractError: the config does not say so, or a layer is not packed.
    """
    from safetensors import safe_open

    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            names.update(tensors.keys())
    packed = {name.removesuffix(PACKED_SUFFIX) for name in names if name.endswith(PACKED_SUFFIX)}
    config = read_json(folder / "config.json").get("quantization_config")
    if missing := sorted(layers - packed):
        raise DataContractError(
            f"quantization did nothing to {len(missing)} of {len(layers)} layers, first {missing[0]}",
            "check quantize.ignore in params.yaml and the llmcompressor version in the lock",
        )
    if not config or config.get("format") != "pack-quantized":
        raise DataContractError(f"{folder / 'config.json'} has no pack-quantized quantization_config", "tunegate run")


def _target_layers(model: Any, ignore: list[str]) -> dict[str, Any]:
    """Return the linear layers to be quantized by name."""
    import torch

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in ignore and name.rpartition(".")[2] not in ignore
    }


def _calibration_rows(path: Path, tokenizer: Any, params: QuantizeParams) -> list[dict[str, list[int]]]:
    """Return calibration conversations as token ids in the template the model is served with, longest first."""
    rows = [row for _, row in zip(range(params.calibration_rows), read_jsonl(path), strict=False)]
    if not rows:
        raise DataContractError(f"{path} has no rows", "tunegate stage prepare")
    ids = [
        tokenizer.apply_chat_template(
            row["messages"], tools=json.loads(row.get("tools") or "null"), tokenize=True, return_dict=False
        )
        for row in rows
    ]
    cut = [row[: params.max_length_tokens] for row in ids]
    return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in sorted(cut, key=len, reverse=True)]


def _compress(
    model: Any, tokenizer: Any, params: QuantizeParams, chosen: QuantizeCandidate, rows: list[dict[str, Any]]
) -> None:
    """Run llm-compressor's one-shot AWQ on the model in place."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    blocks = model.config.num_hidden_layers
    progress = Progress(log, "quantize", blocks, "blocks")

    class ReportingAWQModifier(AWQModifier):
        """AWQ that says how far it is: the library's own bars count calls, not work left."""

        def on_sequential_epoch_end(self, state: Any, event: Any, *args: Any, **kwargs: Any) -> None:
            """Smooth one block, then count it (the pipeline's last part, the head, is no block)."""
            super().on_sequential_epoch_end(state, event, *args, **kwargs)
            if progress.done < blocks:
                progress.advance()

    weights = QuantizationArgs(
        num_bits=4, type="int", symmetric=chosen.scheme == "W4A16", strategy="group", group_size=chosen.group_size
    )
    recipe = [
        ReportingAWQModifier(n_grid=params.grid_points),
        QuantizationModifier(
            config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}, ignore=params.ignore
        ),
    ]
    with unpinned_without_accelerator():
        oneshot(
            model=model,
            tokenizer=tokenizer,
            dataset=Dataset.from_list(rows),
            recipe=recipe,
            num_calibration_samples=len(rows),
            max_seq_length=params.max_length_tokens,
            shuffle_calibration_samples=False,
        )


def _weight_bytes(folder: Path) -> int:
    """Return the size of a model's weights on disk, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
