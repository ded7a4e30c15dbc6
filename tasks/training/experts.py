"""LoRA on the experts of a mixture: transformers keeps them as one parameter for all, which PEFT wraps by name."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.core.errors import ConfigError


@contextmanager
def adapting_experts() -> Iterator[None]:
    """Make PEFT say nothing of the experts' ranks that it turned into patterns for no module, and refuse in our words.

    Raises:
        ConfigError: dropout is asked for, which cannot be applied to a parameter.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys did not match")
        try:
            yield
        except ValueError as error:
            if "does not work with lora_dropout" not in str(error):
                raise
            raise ConfigError(
                "train.lora.dropout cannot be applied to a mixture's experts",
                "set train.lora.dropout: 0.0, or leave gate_proj, up_proj and down_proj out of target_modules",
            ) from error


def adapted_parameter(name: str, layer: Any) -> tuple[str, Any]:
    """Return (name, parameter) of what a LoRA layer adds to: a linear layer's weight, or the experts' own parameter.

    Args:
        name: of the layer in the model.
        layer: of PEFT.
    """
    from peft.tuners.lora.layer import ParamWrapper

    if isinstance(layer, ParamWrapper):
        return f"{name.removesuffix('.base_layer')}.{layer.parameter_name}", layer.get_param()
    return name, layer.get_base_layer().weight
