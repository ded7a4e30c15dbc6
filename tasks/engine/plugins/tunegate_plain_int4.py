"""vLLM's plugin that serves 4-bit weights where its CPU build has no kernel for them: they are unpacked on loading.

Loaded by vLLM itself (an entry point in the folder beside), never by the pipeline. vLLM 0.32 multiplies 4-bit weights
on CPUs by `cpu_gemm_wna16`, which is in its AVX-512 builds alone (`_C_AVX2.abi3.so` has none) and takes activations of
16 bits alone (csrc/cpu/cpu_wna16.cpp). Its server chooses that kernel on every CPU all the same, says that it is ready,
and its engine dies at the first request. Unpacked weights give the same answers with the memory and the pace of the
merged model.
"""

from typing import Any

import torch
from vllm.model_executor.kernels import linear
from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel
from vllm.model_executor.layers.quantization.utils import replace_parameter
from vllm.model_executor.layers.quantization.utils.quant_utils import unpack_quantized_values_into_int32
from vllm.platforms.interface import PlatformEnum


class PlainInt4LinearKernel(CPUWNA16LinearKernel):
    """Multiplies by weights that were packed to 4 bits and are unpacked in memory."""

    @classmethod
    def can_implement(cls, c: Any) -> tuple[bool, str | None]:
        """Tell whether a layer is one for this kernel: one that vLLM's own would take and cannot multiply by."""
        if c.act_type != torch.float32 and hasattr(torch.ops._C, "cpu_gemm_wna16"):
            return False, "cpu_gemm_wna16 is here and faster"
        found: tuple[bool, str | None] = super().can_implement(c)
        return found

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Replace packed values by the weights themselves."""
        packed, scales, zeros = self._get_weight_params(layer)
        kind = self.config.weight_type
        values = _outputs_first(unpack_quantized_values_into_int32(packed.data, kind, packed.packed_dim), packed)
        scale = _outputs_first(scales.data, scales)
        if zeros is None:
            offset = torch.full_like(scale, kind.bias, dtype=torch.int32)
        else:
            offset = _outputs_first(unpack_quantized_values_into_int32(zeros.data, kind, zeros.packed_dim), zeros)
        group = values.shape[1] // scale.shape[1]
        weights = (values - offset.repeat_interleave(group, 1)) * scale.repeat_interleave(group, 1)
        replace_parameter(layer, self.w_q_name, weights.to(self.config.act_type).contiguous())
        for name in (self.w_s_name, self.w_zp_name):
            if name is not None:
                setattr(layer, name, None)

    def apply_weights(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the layer's output."""
        return torch.nn.functional.linear(x, getattr(layer, self.w_q_name), bias)


def _outputs_first(values: torch.Tensor, parameter: Any) -> torch.Tensor:
    """Return a parameter's values with a row for each output."""
    return values if parameter.output_dim == 0 else values.t()


def register() -> None:
    """Have the kernel asked before vLLM's own; vLLM may call this more than once in a process."""
    kernels = linear._POSSIBLE_KERNELS[PlatformEnum.CPU]
    if PlainInt4LinearKernel not in kernels:
        kernels.insert(0, PlainInt4LinearKernel)
