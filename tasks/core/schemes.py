"""Which way of writing weights which processor serves: the one table, by vLLM 0.32.

Sources, read on 2026-12-01: `get_min_capability` of each scheme and the CPU kernels of the installed vLLM 0.32
(model_executor/layers/quantization/compressed_tensors/schemes, model_executor/kernels/linear);
https://docs.vllm.ai/en/v0.32.0/features/quantization/llm_compressor/fp8/ (from 8.9 on; below, weights alone) and
https://docs.vllm.ai/en/latest/features/quantization/int8/ (not from 10.0 on).
"""

from dataclasses import dataclass
from typing import Literal

Serves = Literal["yes", "weights only", "no"]

#: Generations of cards by compute capability, least first, with cards people know.
GENERATIONS = {
    7.5: "Turing (T4, RTX 20)",
    8.0: "Ampere (A100)",
    8.6: "Ampere (A10, RTX 30)",
    8.9: "Ada (L4, L40S, RTX 40)",
    9.0: "Hopper (H100, H200, H20)",
    10.0: "Blackwell (B200)",
    12.0: "Blackwell (RTX 50, RTX PRO 6000)",
}


@dataclass(frozen=True)
class Served:
    """Where vLLM serves a scheme, by compute capability.

    Args:
        least: the least one.
        whole_from: from here on inputs are rounded too; below, only the weights are small. Null: they never are, or
            always.
        below: the first that does not serve it any more; null: none.
        cpu: whether vLLM's CPU build (x86) serves it.
    """

    least: float
    whole_from: float | None
    below: float | None
    cpu: bool


SCHEMES = {
    "W4A16": Served(7.5, None, None, cpu=True),
    "W4A16_ASYM": Served(7.5, None, None, cpu=True),
    "W8A8": Served(7.5, None, 10.0, cpu=True),
    "FP8_DYNAMIC": Served(7.5, 8.9, None, cpu=False),
}


def serves(scheme: str, capability: float | None) -> Serves:
    """Return whether a card serves a scheme.

    Args:
        scheme: as quantize.candidates names it.
        capability: compute capability, e.g. 8.9; null: no card, vLLM's CPU build.
    """
    row = SCHEMES[scheme]
    if capability is None:
        return "yes" if row.cpu else "no"
    if capability < row.least or (row.below is not None and capability >= row.below):
        return "no"
    return "weights only" if row.whole_from is not None and capability < row.whole_from else "yes"


def not_served(schemes: list[str], capability: float | None) -> list[str]:
    """Return the schemes that a card, or without one the CPU build, does not serve; each once, in their order."""
    return [scheme for scheme in dict.fromkeys(schemes) if serves(scheme, capability) == "no"]
