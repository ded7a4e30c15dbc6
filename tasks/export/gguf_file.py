"""One GGUF file from a folder of safetensors: sizes, tokenizer, weights."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.progress import Progress
from tasks.export.architecture import Shape, rope_factors, shape_of, write_sizes
from tasks.export.formats import FILE_TYPES, GgufType, stored_type
from tasks.export.kernels import Kernels
from tasks.export.tensors import ROPE_FACTORS, named_shapes, read_weights
from tasks.export.vocabulary import vocabulary_of, write_vocabulary

log = logging.getLogger(__name__)

#: `general.quantization_version`. Source: ggml.h, GGML_QNT_VERSION.
QUANTIZATION_VERSION = 2


def write_gguf(
    folder: Path, target: Path, kind: GgufType, facts: Mapping[str, str], kernels: Kernels
) -> dict[str, int]:
    """Write a model as GGUF and return how many weights are stored in each type.

    Args:
        folder: config, tokenizer and safetensors of the model, bf16 or fp32.
        target: the file.
        kind: how weights are stored.
        facts: keys and texts that say what the file is (`general.name`, `tunegate.lineage_id`).
        kernels: llama.cpp's quantizer, started only where the type needs it.

    Raises:
        DataContractError: the model is of an architecture or tokenizer that llama.cpp would read otherwise, or a
            weight does not fit the type.
        MissingToolError: the type needs llama.cpp, which is not there.
    """
    from gguf import GGUFWriter

    # The writer says what it writes, at length.
    logging.getLogger("gguf.gguf_writer").setLevel(logging.ERROR)
    shape = shape_of(folder)
    names = named_shapes(folder, shape)
    rows = names["token_embd.weight"][1][0]
    vocabulary = vocabulary_of(folder, rows)
    types = {
        name: stored_type(name, size, kind, blocks=shape.blocks, tied="output.weight" not in names)
        for name, (_, size) in names.items()
    }
    writer = GGUFWriter(target, shape.architecture)
    try:
        for key, text in facts.items():
            writer.add_string(key, text)
        writer.add_file_type(FILE_TYPES[kind])
        writer.add_quantization_version(QUANTIZATION_VERSION)
        write_sizes(writer, shape)
        write_vocabulary(writer, vocabulary)
        _announce(writer, shape, names, types)
        _write_weights(writer, read_weights(folder, shape, names), types, kernels, len(names), target)
    finally:
        writer.close()
    found = [found.name for found in types.values()]
    return {name: found.count(name) for name in sorted(set(found))}


def _announce(writer: Any, shape: Shape, names: dict[str, tuple[str, tuple[int, ...]]], types: dict[str, Any]) -> None:
    """Tell the writer what will come: the file's head stands before its weights."""
    import numpy as np
    from gguf import GGMLQuantizationType, quant_shape_to_byte_shape

    for name, (_, size) in names.items():
        stored = quant_shape_to_byte_shape(size, types[name])
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), int(np.prod(stored)), types[name])
    if (factors := rope_factors(shape)) is not None:
        types[ROPE_FACTORS] = GGMLQuantizationType.F32
        writer.add_tensor_info(ROPE_FACTORS, (len(factors),), np.dtype(np.float32), 4 * len(factors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _write_weights(
    writer: Any, weights: Any, types: dict[str, Any], kernels: Kernels, total: int, target: Path
) -> None:
    """Write every weight in its type."""
    progress = Progress(log, f"export {target.name}", total, "weights")
    for name, values in weights:
        writer.write_tensor_data(_stored(values, types[name], kernels, name))
        if progress.done < total:
            progress.advance()


def _stored(values: Any, kind: Any, kernels: Kernels, name: str) -> Any:
    """Return a weight's bytes in its type."""
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if kind == GGMLQuantizationType.F16:
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise DataContractError(f"{name} holds values that fp16 cannot", "export --type q8_0")
        return values.astype(np.float16)
    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.Q8_0):
        return quantize(values, kind)
    return kernels.quantize(values, kind)
