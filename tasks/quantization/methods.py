"""What llm-compressor is asked for by each method, and how a candidate's numbers are written."""

from typing import Any

from tasks.core.params.model import EIGHT_BITS
from tasks.core.settings import QuantizeCandidate, QuantizeParams
from tasks.quantization.awq import reporting_awq
from tasks.quantization.candidates import name_of

#: Share of the activations' outliers that goes to the weights: what llm-compressor's own W8A8 recipes take.
SMOOTHING_STRENGTH = 0.8


def arguments_of(candidate: QuantizeCandidate) -> dict[str, Any]:
    """Return a candidate as compressed-tensors' arguments for `weights` and, where they are rounded, for the inputs.

    W4A16: 4-bit integers, one scale for each group of inputs. W8A8: 8-bit integers, one scale for each output, and one
    for each token of the inputs, found as they come. FP8_DYNAMIC: the same in float8 (E4M3).
    """
    from compressed_tensors.quantization import QuantizationArgs

    if candidate.scheme not in EIGHT_BITS:
        symmetric = candidate.scheme == "W4A16"
        return {
            "weights": QuantizationArgs(
                num_bits=4, type="int", symmetric=symmetric, strategy="group", group_size=candidate.group_size
            )
        }
    kind = "int" if candidate.scheme == "W8A8" else "float"
    return {
        "weights": QuantizationArgs(num_bits=8, type=kind, symmetric=True, strategy="channel"),
        "input_activations": QuantizationArgs(num_bits=8, type=kind, symmetric=True, strategy="token", dynamic=True),
    }


def recipe_of(candidate: QuantizeCandidate, params: QuantizeParams, blocks: int) -> list[Any]:
    """Return llm-compressor's modifiers for a candidate, in their order.

    Args:
        candidate: method, scheme, group size.
        params: points of AWQ's grid search, layers left alone.
        blocks: number of the model's blocks, for the progress line.
    """
    from compressed_tensors.quantization import QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    groups = {"group_0": QuantizationScheme(targets=["Linear"], **arguments_of(candidate))}
    if candidate.method == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=params.ignore)]
    rounding = QuantizationModifier(config_groups=groups, ignore=params.ignore)
    if candidate.method == "awq":
        return [reporting_awq(blocks, name_of(candidate))(n_grid=params.grid_points), rounding]
    if candidate.method == "smoothquant":
        return [SmoothQuantModifier(smoothing_strength=SMOOTHING_STRENGTH), rounding]
    return [rounding]
