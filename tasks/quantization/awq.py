"""AWQ (Lin et al. 2023, https://arxiv.org/abs/2306.00978) by llm-compressor."""

import logging
from collections.abc import Iterator
from typing import Any

from tasks.core.progress import Progress

log = logging.getLogger(__name__)

#: Tokens a module gets at once: one call for many short rows, and no more memory than one long row takes.
PIECE_TOKENS = 2048


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


def reporting_awq(blocks: int, candidate: str) -> Any:
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
