"""Which ways of writing a model in fewer bits its shapes allow."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.core.params.model import METHODS
from tasks.core.settings import QuantizeCandidate
from tasks.models.architecture import has_experts


def fitting(candidates: Sequence[QuantizeCandidate], input_features: Iterable[int]) -> list[QuantizeCandidate]:
    """Return the candidates whose groups divide every layer's input features, in their order.

    A group is a run of input channels that shares one scale; a group that does not divide the row cannot be packed.

    Args:
        candidates: schemes and group sizes (input channels).
        input_features: `in_features` of every layer to be quantized.

    Raises:
        ConfigError: none fits.
    """
    widths = sorted(set(input_features))
    fit = [item for item in candidates if all(width % (item.group_size or 1) == 0 for width in widths)]
    if not fit:
        sizes = sorted({item.group_size for item in candidates if item.group_size})
        raise ConfigError(
            f"no group size of {sizes} divides the layer widths {widths}",
            "add a candidate with a common divisor of them to quantize.candidates in params.yaml",
        )
    return fit


def require_written_apart(merged: Path, candidates: Sequence[QuantizeCandidate]) -> None:
    """Refuse to write a mixture of experts in 8 bits: its experts are read back as packed 4-bit layers alone.

    Raises:
        ConfigError: the model has experts and a candidate is of 8 bits.
    """
    wide = [name_of(item) for item in candidates if item.bits == 8]
    if wide and has_experts(merged):
        raise ConfigError(
            f"{merged} is a mixture of experts, which is not written in 8 bits: {', '.join(wide)}",
            "leave W4A16 and W4A16_ASYM alone in quantize.candidates in params.yaml",
        )


def name_of(candidate: QuantizeCandidate) -> str:
    """Return a candidate's name in logs and reports: `W4A16_ASYM g32`, `W4A16 g128 gptq`, `W8A8`."""
    groups = f" g{candidate.group_size}" if candidate.group_size else ""
    return f"{candidate.scheme}{groups}{'' if is_usual(candidate) else f' {candidate.method}'}"


def is_usual(candidate: QuantizeCandidate) -> bool:
    """Return whether a candidate has the method that its scheme has where none is named."""
    return candidate.method == METHODS[candidate.scheme][0]
