"""AWQ (Lin et al. 2023, https://arxiv.org/abs/2306.00978) by llm-compressor."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import copy_tokenizer
from tasks.core.progress import Progress
from tasks.core.settings import QuantizeCandidate, QuantizeParams
from tasks.models.weights import save_weights
from tasks.quantization.candidates import name_of
from tasks.quantization.pinned_memory import unpinned_without_accelerator
from tasks.quantization.screening import weight_arguments

log = logging.getLogger(__name__)

#: Tokens a module gets at once: one call for many short rows, and no more memory than one long row takes.
PIECE_TOKENS = 2048


def compress(
    model: Any,
    tokenizer: Any,
    candidate: QuantizeCandidate,
    params: QuantizeParams,
    token_ids: list[list[int]],
    output: Path,
    merged: Path,
) -> None:
    """Quantize a model in place by one-shot AWQ and write it in the compressed-tensors format (vLLM detects it).

    Args:
        model: the merged model, in bf16 or fp32.
        tokenizer: its tokenizer.
        candidate: scheme and group size.
        params: points of the grid search, layers left alone.
        token_ids: calibration conversations.
        output: gets the Hugging Face folder.
        merged: folder of the merged model; its tokenizer files and generation config go with the weights.
    """
    from compressed_tensors.quantization import QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    scheme = QuantizationScheme(targets=["Linear"], weights=weight_arguments(candidate))
    smoothing = _reporting_awq(model.config.num_hidden_layers, name_of(candidate))(n_grid=params.grid_points)
    # One line about torch's own deprecations, which asks nothing of the user.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    rows = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in token_ids]
    with unpinned_without_accelerator():
        oneshot(
            model=model,
            tokenizer=tokenizer,
            dataset=Dataset.from_list(rows),
            recipe=[smoothing, QuantizationModifier(config_groups={"group_0": scheme}, ignore=params.ignore)],
            num_calibration_samples=len(rows),
            max_seq_length=params.max_length_tokens,
            shuffle_calibration_samples=False,
        )
    save_weights(_narrowed(model), output, like=merged, save_compressed=True)
    copy_tokenizer(merged, output)


def token_by_token(arguments: dict[str, Any]) -> bool:
    """Return whether a module gets hidden states and nothing else: no mask, no positions, so no other token matters."""
    import torch

    return len(arguments) == 1 and all(isinstance(value, torch.Tensor) for value in arguments.values())


def outputs_by_row(module: Any, batches: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield a module's output on each row, called once for as many rows as `PIECE_TOKENS` holds.

    Row by row, because the library rounds the sum of a row's squared errors to the model's type: over many rows in one
    it would not tell two points of the grid apart.

    Args:
        module: gets hidden states (..., tokens, width).
        batches: the arguments of each row, as `token_by_token` accepts them.
    """
    import torch

    (name,) = batches[0]
    waiting: list[Any] = []
    for place, batch in enumerate(batches, start=1):
        waiting.append(batch[name])
        lengths = [states.shape[-2] for states in waiting]
        if sum(lengths) >= PIECE_TOKENS or place == len(batches):
            output = module(**{name: torch.cat(waiting, dim=-2)})
            yield from (output[0] if isinstance(output, tuple) else output).split(lengths, dim=-2)
            waiting = []


def _narrowed(model: Any) -> Any:
    """Return the model as it is written: what stays unpacked, scales with it, in bf16, whatever it was computed in."""
    import torch

    return model if model.dtype == torch.bfloat16 else model.to(torch.bfloat16)


def _reporting_awq(blocks: int, candidate: str) -> Any:
    """Return llm-compressor's AWQ with a progress line: the library's own bars count calls, not work left."""
    from llmcompressor.modifiers.transform.awq import AWQModifier

    progress = Progress(log, f"quantize {candidate}", blocks, "blocks")

    class ReportingAWQModifier(AWQModifier):
        """AWQ that says how far it is, and calls a module that looks at each token alone once for many rows."""

        def _run_samples(self, module: Any) -> list[Any]:
            """Return the module's outputs on the cached inputs, row by row."""
            batches = list(self._parent_args_cache[module])
            if not all(map(token_by_token, batches)):
                return super()._run_samples(module)
            return list(outputs_by_row(module, batches))

        def on_sequential_epoch_end(self, state: Any, event: Any, *args: Any, **kwargs: Any) -> None:
            """Smooth one block, then count it (the pipeline's last part, the head, is no block)."""
            super().on_sequential_epoch_end(state, event, *args, **kwargs)
            if progress.done < blocks:
                progress.advance()

    return ReportingAWQModifier
