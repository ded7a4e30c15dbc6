"""Facts about a model folder that the gate relies on."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.evaluation.hops.report import model_facts


@pytest.mark.parametrize(
    ("tensors", "config", "expected"),
    [
        ({"a.weight": (2, 4)}, {}, {"quantization": None, "quantized_modules": 0, "tensors": 1}),
        (
            {"a.weight_packed": (2, 1), "a.weight_scale": (2, 1), "norm.weight": (4,)},
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
            {"quantization": "pack-quantized", "quantized_modules": 1, "tensors": 3},
        ),
        (
            {"a.weight": (2, 4), "a.weight_scale": (2, 1), "norm.weight": (4,)},
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}},
            {"quantization": "int-quantized", "quantized_modules": 1, "tensors": 3},
        ),
        # A quantize that did nothing: the config promises what the weights do not hold.
        (
            {"a.weight": (2, 4)},
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
            {"quantization": "pack-quantized", "quantized_modules": 0, "tensors": 1},
        ),
    ],
)
def test_quantized_modules_are_counted_in_the_weights_not_in_the_config(tmp_path, tensors, config, expected):
    save_file(
        {name: np.zeros(shape, dtype=np.int32) for name, shape in tensors.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    size = (tmp_path / "model.safetensors").stat().st_size
    assert model_facts(tmp_path) == {"size_bytes": size, **expected}
