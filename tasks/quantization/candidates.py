"""Which ways of writing a model in 4 bits its shapes allow."""

from collections.abc import Iterable, Sequence

from tasks.core.errors import ConfigError
from tasks.core.settings import QuantizeCandidate


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
    fit = [item for item in candidates if all(width % item.group_size == 0 for width in widths)]
    if not fit:
        raise ConfigError(
            f"no group size of {sorted({item.group_size for item in candidates})} divides the layer widths {widths}",
            "add a candidate with a common divisor of them to quantize.candidates in params.yaml",
        )
    return fit


def name_of(candidate: QuantizeCandidate) -> str:
    """Return a candidate's name in logs and reports: `W4A16_ASYM g32`."""
    return f"{candidate.scheme} g{candidate.group_size}"
