"""Attention of short rows by plain matrix products, for training on CPU.

The flash kernel that torch takes on CPU works through a row in blocks; its backward pass was a tenth of a training step
over rows of 40 to 400 tokens, where two products of whole matrices are quicker. The weights of a row (heads x tokens x
tokens) are kept for the backward pass, so it is for short rows alone.
"""

from typing import Any

import torch

NAME = "tunegate_products"
#: Tokens of the longest row: 4 rows of 512 in a model of 9 heads keep 19 MB a layer in bf16.
LONGEST_TOKENS = 512


class AttentionProducts(torch.autograd.Function):
    """`softmax(q k^T scaling + mask) v`, heads that share keys in one product; the weights in fp32, kept as `q` is."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float) -> torch.Tensor:
        """Return (rows, heads, tokens, width), in autocast's type where it is on, as torch's own kernels do.

        Args:
            ctx: keeps what `backward` needs.
            q: (rows, heads, tokens, width).
            k: (rows, key heads, tokens, width); a key head serves heads / key heads neighbours.
            v: like `k`.
            mask: (rows, 1, tokens, tokens), 0 or a very negative number.
            scaling: of the products.
        """
        device = q.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else q.dtype
        with torch.autocast(device, enabled=False):
            rows, heads, tokens, width = q.shape
            shared = rows * k.shape[1]
            queries, keys, values = (one.reshape(shared, -1, width).to(compute) for one in (q, k, v))
            scores = torch.bmm(queries, keys.transpose(1, 2)).view(rows, heads, tokens, -1)
            weights = torch.softmax(scores.float().mul_(scaling).add_(mask), dim=-1).to(compute)
            out = torch.bmm(weights.view(shared, -1, weights.shape[-1]), values)
        ctx.save_for_backward(queries, keys, values, weights, out)
        ctx.scaling, ctx.given = scaling, [(one.shape, one.dtype) for one in (q, k, v)]
        return out.view(rows, heads, tokens, width)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, Any, Any, None, None]:
        """Return the gradients of q, k and v."""
        queries, keys, values, weights, out = ctx.saved_tensors
        with torch.autocast(queries.device.type, enabled=False):
            grad = grad_outputs[0].reshape(out.shape).to(out.dtype)
            kept = weights.view(len(queries), -1, weights.shape[-1])
            grad_values = torch.bmm(kept.transpose(1, 2), grad)
            # d softmax: each weight times what its gradient has above the row's weighted mean, which is grad . out.
            mean = (grad * out).sum(dim=-1, keepdim=True)
            grad_scores = torch.bmm(grad, values.transpose(1, 2)).sub_(mean).mul_(kept).mul_(ctx.scaling)
            grad_queries, grad_keys = torch.bmm(grad_scores, keys), torch.bmm(grad_scores.transpose(1, 2), queries)
        made = zip((grad_queries, grad_keys, grad_values), ctx.given, strict=True)
        q, k, v = (gradient.view(shape).to(dtype) for gradient, (shape, dtype) in made)
        return q, k, v, None, None


def attention_by_products(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **options: Any
) -> tuple[Any, None]:
    """Attend as transformers' attention functions do; what is more than plain attention is left to torch's own.

    Returns:
        (rows, tokens, heads, width) and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    more = options.get("dropout") or any(options.get(name) is not None for name in ("softcap", "s_aux"))
    if more or attention_mask is None:
        plain: tuple[Any, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scale, **options
        )
        return plain
    out = AttentionProducts.apply(query, key, value, attention_mask, scale)
    return out.transpose(1, 2).contiguous(), None


def attention_for(max_length_tokens: int, *, divided: bool = False) -> str:
    """Return the attention to train with on this machine: torch's own, or plain products on a CPU with short rows.

    Args:
        max_length_tokens: of the longest row.
        divided: whether FSDP or DeepSpeed will divide the weights: then it is torch's own, as on the GPUs it is for.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    if divided or torch.cuda.is_available() or max_length_tokens > LONGEST_TOKENS:
        return "sdpa"
    AttentionInterface.register(NAME, attention_by_products)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME
