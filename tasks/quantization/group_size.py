"""Which AWQ group size the shapes of a model allow."""

from collections.abc import Iterable

from tasks.core.errors import ConfigError


def choose_group_size(input_features: Iterable[int], preferred: Iterable[int]) -> int:
    """Return the first preferred group size that divides every layer's input features.

    A group is a run of input channels that shares one scale; a group that does not divide the row cannot be packed.

    Args:
        input_features: `in_features` of every layer to be quantized.
        preferred: group sizes, best first.

    Raises:
        ConfigError: none fits.
    """
    widths = sorted(set(input_features))
    candidates = list(preferred)
    for size in candidates:
        if all(width % size == 0 for width in widths):
            return size
    raise ConfigError(
        f"no group size of {candidates} divides the layer widths {widths}",
        "add a common divisor of them to quantize.group_sizes in params.yaml",
    )
