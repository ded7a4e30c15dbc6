"""Merged bf16 weights to fewer bits, by the candidate that costs least on held-out answers.

The budget is a number of candidates, finalists, rows and tokens, never of seconds: two runs choose the same.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import ConfigError
from tasks.core.files import write_json
from tasks.core.settings import QuantizeParams
from tasks.models.safety import require_safe
from tasks.quantization.calibration import read_calibration
from tasks.quantization.candidates import fitting, require_written_apart
from tasks.quantization.heldout import logits_of, measure, read_heldout
from tasks.quantization.report import report_of
from tasks.quantization.search import Search, Tried, choose, load, target_layers

log = logging.getLogger(__name__)

#: Finalists are written here, inside the output, until the best is known: a rename then costs nothing.
FINALISTS = ".finalists"


def quantize(params: QuantizeParams, *, output: Path, merged: Path, prepared: Path) -> dict[str, Any]:
    """Quantize the merged model by the best candidate, and check that it was.

    Args:
        params: candidates, finalists, calibration, held-out rows, bars.
        output: gets a Hugging Face folder in the compressed-tensors format (vLLM detects it) and quantization.json.
        merged: bf16 folder in safetensors.
        prepared: holds calibration.jsonl (rows of the training split) and validation.jsonl.

    Returns:
        {"scheme", "group_size", "layers", "bytes_before", "bytes_after", "bars_held"}.

    Raises:
        DataContractError: no calibration or held-out rows, or layers that should be quantized are not.
        ConfigError: no layer is left to quantize, no group size fits the model, or experts in 8 bits.
    """
    import torch

    require_safe(merged)
    torch.manual_seed(params.seed)
    tokenizer = load_tokenizer(merged)
    calibration = read_calibration(prepared / "calibration.jsonl", tokenizer, params)
    heldout = read_heldout(prepared / "validation.jsonl", tokenizer, params)
    model = load(merged)
    layers = target_layers(model, params.ignore)
    if not layers:
        raise ConfigError("quantize.ignore leaves no layer to quantize", "edit quantize.ignore in params.yaml")
    require_written_apart(merged, params.candidates)
    candidates = fitting(params.candidates, (layer.in_features for layer in layers.values()))
    facts = {"layers": len(layers), "parameters": sum(weight.numel() for weight in model.parameters())}
    search = Search(params, merged, tokenizer, calibration, heldout, list(logits_of(model, heldout)))
    # Apart from itself it is by nothing; to compute that takes as long as a candidate.
    before = replace(measure(search.reference, heldout), kl_nats=0.0, top1_agreement=1.0)
    del model, layers
    log.info("quantize: %d candidates, the best %d of each method are made in full", len(candidates), params.finalists)
    tried = search.finals(search.screen(candidates), output / FINALISTS)
    best = choose(tried, params.bars, before)
    _move_up(best, output)
    report = report_of(search, tried, best, before, output=output, **facts)
    write_json(output / "quantization.json", report)
    kept = ("scheme", "group_size", "layers", "bytes_before", "bytes_after")
    return {**{key: report[key] for key in kept}, "bars_held": report["bars"]["held"]}


def _move_up(best: Tried, output: Path) -> None:
    """Move the chosen model's files into the output and drop the others."""
    if best.folder is None:
        raise ValueError("only a finalist can be chosen")
    for path in sorted(best.folder.iterdir()):
        path.rename(output / path.name)
    shutil.rmtree(output / FINALISTS)
