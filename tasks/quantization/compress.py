"""One candidate's weights, made by llm-compressor and written in the compressed-tensors format (vLLM detects it)."""

import logging
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import copy_tokenizer
from tasks.core.settings import QuantizeCandidate, QuantizeParams
from tasks.models.weights import save_weights
from tasks.quantization.methods import recipe_of
from tasks.quantization.metric_level import define_metric_level
from tasks.quantization.pinned_memory import unpinned_without_accelerator


def compress(
    model: Any,
    tokenizer: Any,
    candidate: QuantizeCandidate,
    params: QuantizeParams,
    token_ids: list[list[int]],
    output: Path,
    merged: Path,
) -> None:
    """Quantize a model in place by one-shot calibration and write it.

    Args:
        model: the merged model, in bf16 or fp32.
        tokenizer: its tokenizer.
        candidate: method, scheme and group size.
        params: points of AWQ's grid search, layers left alone.
        token_ids: calibration conversations.
        output: gets the Hugging Face folder.
        merged: folder of the merged model; its tokenizer files and generation config go with the weights.
    """
    from datasets import Dataset
    from llmcompressor import oneshot

    # One line about torch's own deprecations, which asks nothing of the user.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    define_metric_level()
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in token_ids]
    with unpinned_without_accelerator():
        oneshot(
            model=model,
            tokenizer=tokenizer,
            dataset=Dataset.from_list(rows),
            recipe=recipe_of(candidate, params, model.config.num_hidden_layers),
            num_calibration_samples=len(rows),
            max_seq_length=params.max_length_tokens,
            shuffle_calibration_samples=False,
        )
    save_weights(_narrowed(model), output, like=merged, save_compressed=True)
    copy_tokenizer(merged, output)


def _narrowed(model: Any) -> Any:
    """Return the model as it is written: what stays unpacked, scales with it, in bf16, whatever it was computed in."""
    import torch

    return model if model.dtype == torch.bfloat16 else model.to(torch.bfloat16)
