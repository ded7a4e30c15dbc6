"""In which type each weight of a GGUF file is stored: what llama.cpp's own quantizer chooses under the same name.

Source: llama.cpp, src/llama-quant.cpp, `llama_tensor_get_type` and its fallbacks for rows that no block divides.
"""

from typing import Any, Literal

GgufType = Literal["f16", "q8_0", "q4_k_m"]
TYPES: tuple[GgufType, ...] = ("f16", "q8_0", "q4_k_m")
#: `general.file_type`. Source: llama.cpp, include/llama.h, enum llama_ftype.
FILE_TYPES: dict[GgufType, int] = {"f16": 1, "q8_0": 7, "q4_k_m": 15}
#: Types that the package `gguf` cannot write: llama.cpp's own kernels do.
NEEDS_LLAMACPP = frozenset({"q4_k_m"})

_DEFAULT: dict[GgufType, str] = {"f16": "F16", "q8_0": "Q8_0", "q4_k_m": "Q4_K"}
_BLOCK = {"F16": 1, "Q8_0": 32, "Q5_0": 32, "Q5_1": 32, "Q4_K": 256, "Q5_K": 256, "Q6_K": 256}
_NARROWER = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q5_0": "F16", "Q5_1": "F16", "Q8_0": "F16"}
#: Blocks of the 70B models, eight of whose query heads share one of values.
_BLOCKS_OF_70B = 80


def stored_type(name: str, size: tuple[int, ...], kind: GgufType, *, blocks: int, tied: bool) -> Any:
    """Return the `gguf.GGMLQuantizationType` of one weight.

    Args:
        name: llama.cpp's.
        size: its shape; the last is what a row holds.
        kind: of the file.
        blocks: transformer blocks of the model.
        tied: whether the embedding is the head as well.
    """
    from gguf import GGMLQuantizationType

    if len(size) < 2:
        return GGMLQuantizationType.F32
    chosen = _chosen(name, blocks, tied) if kind == "q4_k_m" else _DEFAULT[kind]
    while size[-1] % _BLOCK[chosen]:
        chosen = _NARROWER[chosen]
    return GGMLQuantizationType[chosen]


def _chosen(name: str, blocks: int, tied: bool) -> str:
    """Return the type that Q4_K_M means for one weight: more bits where an error costs more."""
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return "Q6_K"
    if name.startswith("blk."):
        _, number, part, _ = name.split(".")
        if part in ("attn_v", "ffn_down") and _more_bits(int(number), blocks):
            return "Q6_K"
        if part == "attn_v" and blocks == _BLOCKS_OF_70B:
            return "Q5_K"
    return "Q4_K"


def _more_bits(block: int, blocks: int) -> bool:
    """Tell whether a block is among those that get more bits."""
    eighth = blocks // 8
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2
