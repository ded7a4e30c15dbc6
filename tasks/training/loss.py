"""Next-token cross entropy on the completion's tokens alone.

The head (hidden size x vocabulary) is the widest layer of a small model. Prompt and padding positions never reach it,
and no metric over the vocabulary is computed. Loss and gradient are made together in pieces, so that the logits of a
long batch never exist at once (as in Hsu et al. 2024, arXiv:2410.10989, section 3.2).
"""

import types
from typing import Any

import torch

from tasks.chat.rows import IGNORED

#: Positions whose logits exist at once: 512 x 152,000 in fp32 is 300 MB.
PIECE_POSITIONS = 512


class SummedCrossEntropy(torch.autograd.Function):
    """Sum of cross entropies of `hidden @ weight.T + bias` against `targets`, in pieces; the gradient with it."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any) -> torch.Tensor:
        """Return the summed loss (fp32 scalar).

        Args:
            ctx: keeps the gradients for `backward`.
            hidden: (positions, hidden size), bf16 or fp32.
            weight: (vocabulary, hidden size).
            bias: (vocabulary,) or None.
            targets: (positions,) int64.
        """
        compute = torch.bfloat16 if torch.is_autocast_enabled(hidden.device.type) else hidden.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            return _loss_and_gradients(ctx, hidden, weight, bias, targets, compute)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, Any, Any, None]:
        """Return the gradients made in `forward`, scaled."""
        scale = grad_outputs[0]
        hidden, weight, bias = (None if kept is None else kept * scale.to(kept.dtype) for kept in ctx.saved_tensors)
        return hidden, weight, bias, None


def _loss_and_gradients(
    ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: Any, targets: torch.Tensor, compute: torch.dtype
) -> torch.Tensor:
    """Compute the loss piece by piece and leave the gradients in `ctx`."""
    wanted = ctx.needs_input_grad
    head = weight.to(compute)
    grad_hidden = torch.empty_like(hidden) if wanted[0] else None
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
    grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None
    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(targets), PIECE_POSITIONS):
        piece = slice(start, start + PIECE_POSITIONS)
        states, target = hidden[piece].to(compute), targets[piece].unsqueeze(1)
        logits = torch.nn.functional.linear(states, head, bias if bias is None else bias.to(compute)).float()
        normalizer = torch.logsumexp(logits, dim=1, keepdim=True)
        total += (normalizer - logits.gather(1, target)).sum()
        if not any(wanted):
            continue
        # d loss / d logits = softmax - one-hot
        gradient = logits.sub_(normalizer).exp_()
        gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=gradient.dtype))
        rounded = gradient.to(compute)
        if grad_hidden is not None:
            grad_hidden[piece] = (rounded @ head).to(hidden.dtype)
        if grad_weight is not None:
            grad_weight += (rounded.T @ states).float()
        if grad_bias is not None:
            grad_bias += gradient.sum(dim=0)
    ctx.save_for_backward(grad_hidden, *(_like(grad, of) for grad, of in ((grad_weight, weight), (grad_bias, bias))))
    return total


def _like(gradient: torch.Tensor | None, parameter: Any) -> torch.Tensor | None:
    """Return a gradient in the type of its parameter."""
    return None if gradient is None else gradient.to(parameter.dtype)


def score_completions(model: Any) -> None:
    """Make `model(input_ids, attention_mask, labels=...)` return `{"loss_sum": ...}` of the labelled tokens alone.

    Without labels the model's own forward runs. The backbone is looked up at each call: PEFT and FSDP replace it. The
    head computes the loss inside its own forward: where its weight is divided, it is whole there and nowhere else.
    """
    _score_in_head(model.get_output_embeddings())
    plain_forward = types.MethodType(type(model).forward, model)

    def forward(self: Any, *args: Any, labels: torch.Tensor | None = None, **options: Any) -> Any:
        """Run the backbone, then head and loss where a label stands."""
        if labels is None:
            return plain_forward(*args, **options)
        states = self.base_model(*args, **options | {"use_cache": False}).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        scored = targets != IGNORED
        return {"loss_sum": self.get_output_embeddings()(states[scored], targets=targets[scored])}

    model.forward = types.MethodType(forward, model)


def _score_in_head(head: Any) -> None:
    """Make `head(hidden, targets=...)` return the summed loss; without targets it gives logits as before."""
    plain_forward = types.MethodType(type(head).forward, head)

    def forward(self: Any, hidden: torch.Tensor, *, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Return loss or logits."""
        if targets is None:
            return plain_forward(hidden)
        return SummedCrossEntropy.apply(hidden, self.weight, self.bias, targets)

    head.forward = types.MethodType(forward, head)
