"""A linear layer and its LoRA branch as one differentiable operation, for training on CPU.

PEFT runs them as a dozen operations, converts the input to fp32 on the way (its check for autocast asks CUDA) and
keeps every intermediate for the backward pass. On CPU those passes over memory cost more than the products. Here only
the input and its rank-sized projection are kept. On CUDA PEFT's own forward stays.
"""

import types
from typing import Any

import torch


class LoraProduct(torch.autograd.Function):
    """`x W^T + scaling (x A^T) B^T` in one type for a frozen W; gradients for x, A and B (Hu et al. 2021, eq. 3)."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, a: Any, b: Any, base_layer: Any, scaling: float, compute: torch.dtype
    ) -> torch.Tensor:
        """Return the layer's output.

        Args:
            ctx: keeps what `backward` needs.
            x: (..., inputs).
            a: (rank, inputs), fp32.
            b: (outputs, rank), fp32.
            base_layer: torch or bitsandbytes linear layer; its weight is read again in `backward`, not kept.
            scaling: alpha / rank.
            compute: type of the products: bf16 or fp32.
        """
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1]).to(compute)
            low = rows @ a.to(compute).T
            bias = None if base_layer.bias is None else base_layer.bias.to(compute)
            out = torch.nn.functional.linear(rows, dense_weight(base_layer, compute), bias)
            out.addmm_(low, b.to(compute).T, alpha=scaling)
        ctx.save_for_backward(rows, low, a, b)
        ctx.base_layer, ctx.scaling = base_layer, scaling
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return out.view(*x.shape[:-1], -1).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, Any, Any, None, None, None]:
        """Return the gradients of x, A and B."""
        rows, low, a, b = ctx.saved_tensors
        compute = rows.dtype
        grad = grad_outputs[0].reshape(-1, grad_outputs[0].shape[-1]).to(compute)
        grad_low = grad @ b.to(compute)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ dense_weight(ctx.base_layer, compute)
            grad_x.addmm_(grad_low, a.to(compute), alpha=ctx.scaling)
            grad_x = grad_x.view(ctx.shape).to(ctx.dtype)
        grad_a = (grad_low.T @ rows).to(a.dtype) * ctx.scaling
        grad_b = (grad.T @ low).to(b.dtype) * ctx.scaling
        return grad_x, grad_a, grad_b, None, None, None


def dense_weight(layer: Any, compute: torch.dtype) -> torch.Tensor:
    """Return the weight of a linear layer in the type asked for; 4-bit weights are dequantized."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    if isinstance(layer, Linear4bit):
        packed: Any = layer.weight
        return dequantize_4bit(packed.data, packed.quant_state).to(compute)
    return layer.weight.to(compute)


def fuse_lora_layers(model: Any, compute: torch.dtype) -> int:
    """Make every plain LoRA linear layer of `model` run as one operation; return how many do.

    Layers with dropout, DoRA or more than one adapter keep PEFT's forward.
    """
    from peft.tuners.lora import LoraLayer

    fused = 0
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and _is_plain(layer):
            plain: Any = layer
            _hold_plain_scales(plain.get_base_layer())
            plain.forward, plain.compute = types.MethodType(_forward, layer), compute
            fused += 1
    return fused


def _hold_plain_scales(layer: Any) -> None:
    """Undo the double quantization of a 4-bit layer's scales: they are read twice a step, and take as long as it does.

    The same numbers, 4 bytes for 64 weights instead of a good one. Source: bitsandbytes/functional.py, dequantize_4bit.
    """
    from bitsandbytes.functional import dequantize_blockwise
    from bitsandbytes.nn import Linear4bit

    weight: Any = layer.weight
    state: Any = weight.quant_state if isinstance(layer, Linear4bit) else None
    if state is not None and state.nested:
        state.absmax = (dequantize_blockwise(state.absmax, state.state2) + state.offset).float()
        state.nested, state.offset, state.state2 = False, None, None


def _is_plain(layer: Any) -> bool:
    """Return whether a LoRA layer is a linear layer with one adapter and nothing on top."""
    names = list(layer.lora_A)
    return (
        isinstance(layer.get_base_layer(), torch.nn.Linear)
        and len(names) == 1
        and not layer.lora_variant
        and isinstance(layer.lora_dropout[names[0]], torch.nn.Identity)
        and layer.lora_A[names[0]].bias is None
        and layer.lora_B[names[0]].bias is None
    )


def _forward(self: Any, x: torch.Tensor, *args: Any, **options: Any) -> Any:
    """Run base and adapter together; a disabled or merged adapter is PEFT's business."""
    if self.disable_adapters or self.merged or args or options:
        return type(self).forward(self, x, *args, **options)
    name = self.active_adapters[0]
    return LoraProduct.apply(
        x, self.lora_A[name].weight, self.lora_B[name].weight, self.get_base_layer(), self.scaling[name], self.compute
    )
