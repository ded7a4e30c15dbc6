"""Run by the interpreter of .venv-llamacpp: rows of fp32 in, blocks of ggml's own quantizer out, over pipes.

A request is one JSON line {"type": ggml's number of the type, "rows", "columns"} and the rows as fp32; the answer is
one JSON line {"bytes"} and the blocks. Imports nothing of the pipeline: the other interpreter has none of it.
"""

import ctypes
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

FLOAT_BYTES = 4


def kernel() -> "ctypes._NamedFuncPointer":
    """Return ggml's `ggml_quantize_chunk` out of the extension that carries llama.cpp."""
    import xllamacpp.xllamacpp as extension

    function = ctypes.CDLL(extension.__file__).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *([ctypes.c_int64] * 3), ctypes.c_void_p]
    return function


def quantized(function: "ctypes._NamedFuncPointer", kind: int, rows: int, columns: int, data: bytearray) -> bytes:
    """Return the blocks of a matrix; a part of the rows on each core."""
    source = (ctypes.c_char * len(data)).from_buffer(data)
    # No type of ggml takes more room than fp32.
    target = (ctypes.c_char * len(data))()

    def part(first: int, last: int) -> int:
        return function(kind, source, target, first * columns, last - first, columns, None)

    edges = sorted({rows * place // (os.cpu_count() or 1) for place in range((os.cpu_count() or 1) + 1)})
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(part, edges[:-1], edges[1:]))
    return target.raw[: sum(sizes)]


def answer(function: "ctypes._NamedFuncPointer", requests: BinaryIO, answers: BinaryIO) -> bool:
    """Answer one request; tell whether there was one."""
    line = requests.readline()
    if not line:
        return False
    asked = json.loads(line)
    data = bytearray(requests.read(asked["rows"] * asked["columns"] * FLOAT_BYTES))
    blocks = quantized(function, asked["type"], asked["rows"], asked["columns"], data)
    answers.write(json.dumps({"bytes": len(blocks)}).encode() + b"\n" + blocks)
    answers.flush()
    return True


if __name__ == "__main__":
    chunk = kernel()
    while answer(chunk, sys.stdin.buffer, sys.stdout.buffer):
        pass
