"""A quick order of the candidates: rounding to nearest, without AWQ, by the formulas of compressed-tensors itself."""

from typing import Any

from tasks.core.settings import QuantizeCandidate


def weight_arguments(candidate: QuantizeCandidate) -> Any:
    """Return a candidate as compressed-tensors' arguments: 4-bit integers, one scale for each group of inputs."""
    from compressed_tensors.quantization import QuantizationArgs

    return QuantizationArgs(
        num_bits=4,
        type="int",
        symmetric=candidate.scheme == "W4A16",
        strategy="group",
        group_size=candidate.group_size,
    )


def round_to_nearest(layers: dict[str, Any], candidate: QuantizeCandidate) -> None:
    """Replace the layers' weights by what 4 bits keep of them; the scale of a group spans its least and largest weight.

    Args:
        layers: linear layers by name; their weights, shape (outputs, inputs), are changed in place.
        candidate: scheme and group size.
    """
    import torch
    from compressed_tensors.quantization import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = weight_arguments(candidate)
    with torch.no_grad():
        for layer in layers.values():
            groups = layer.weight.unflatten(-1, (-1, candidate.group_size))
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
            layer.weight.copy_(fake_quantize(layer.weight, scale, zero, arguments))
