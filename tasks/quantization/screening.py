"""A quick order of the candidates: weights rounded to nearest, by the formulas of compressed-tensors itself."""

from typing import Any

from tasks.core.settings import QuantizeCandidate
from tasks.quantization.methods import arguments_of


def round_to_nearest(layers: dict[str, Any], candidate: QuantizeCandidate) -> None:
    """Replace the layers' weights by what the scheme keeps of them; the scale of a group spans its extremes.

    A group is the whole row of an output where the scheme has no groups. Inputs are not rounded here.

    Args:
        layers: linear layers by name; their weights, shape (outputs, inputs), are changed in place.
        candidate: scheme and group size.
    """
    import torch
    from compressed_tensors.quantization import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = arguments_of(candidate)["weights"]
    with torch.no_grad():
        for layer in layers.values():
            groups = layer.weight.unflatten(-1, (-1, candidate.group_size or layer.in_features))
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
            layer.weight.copy_(fake_quantize(layer.weight, scale, zero, arguments))
