"""The weights of a folder of safetensors by llama.cpp's names and in its order of values, one at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.export.architecture import INTERLEAVED, Shape, rope_factors
from tasks.models.files import tensor_shapes

#: The tensor that stretches Llama 3's rotation.
ROPE_FACTORS = "rope_freqs.weight"


def named_shapes(folder: Path, shape: Shape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return {llama.cpp's name: (name in the folder, shape)} of every weight, in llama.cpp's usual order.

    A head that is the embedding (`tie_word_embeddings`) is not written twice: llama.cpp takes the embedding.

    Raises:
        DataContractError: a weight has no name in llama.cpp's graph: it would be left out.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == shape.architecture)
    names = get_tensor_name_map(architecture, shape.blocks)
    found, unknown = {}, []
    for own, size in tensor_shapes(folder).items():
        if own == "lm_head.weight" and shape.config.get("tie_word_embeddings"):
            continue
        name = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if name is None:
            unknown.append(own)
        else:
            found[name] = (own, tuple(size))
    if unknown:
        raise DataContractError(
            f"{folder}: {len(unknown)} weights have no place in llama.cpp's {shape.architecture}: {unknown[0]}, ...",
            "export safetensors instead",
        )
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def read_weights(
    folder: Path, shape: Shape, names: dict[str, tuple[str, tuple[int, ...]]]
) -> Iterator[tuple[str, Any]]:
    """Yield (llama.cpp's name, values in fp32) in the order of `names`; one tensor is in memory at a time.

    Raises:
        DataContractError: a weight is NaN or infinite.
    """
    import numpy as np
    from safetensors import safe_open

    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            files |= dict.fromkeys(opened.keys(), path)
    for name, (own, _) in names.items():
        with safe_open(files[own], framework="pt") as opened:
            values = opened.get_tensor(own).float().numpy()
        if not np.isfinite(values).all():
            raise DataContractError(f"{folder}: {own} holds NaN or infinity", "look into training and merge")
        yield name, _interleaved(name, values, shape)
    if (factors := rope_factors(shape)) is not None:
        yield ROPE_FACTORS, np.array(factors, dtype=np.float32)


def _interleaved(name: str, values: Any, shape: Shape) -> Any:
    """Return queries' and keys' rows as llama.cpp rotates them: the two halves of a head taking turns."""
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads is None or shape.architecture not in INTERLEAVED:
        return values
    halves = values.reshape(heads, 2, shape.head_size // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _order(name: str) -> tuple[int, int, str]:
    """Return the place of a tensor: embedding, blocks by number, what comes after them."""
    if name.startswith("blk."):
        return 1, int(name.split(".")[1]), name
    return (0 if name.startswith("token_embd") else 2), 0, name
