"""ggml's own quantizer as a child process: the package `gguf` writes no K-quants."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.core.errors import MissingToolError

SCRIPT = Path(__file__).with_name("ggml_kernels.py")


class Kernels:
    """Rows of fp32 to blocks of a ggml type; a context manager that ends the process.

    Args:
        python: interpreter of .venv-llamacpp.
    """

    def __init__(self, python: Path) -> None:
        self.python = python
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Kernels":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.communicate()

    def quantize(self, values: Any, kind: Any) -> Any:
        """Return a matrix's blocks, [rows, bytes a row].

        Args:
            values: fp32 [rows, columns]; the type's block divides the columns.
            kind: a `gguf.GGMLQuantizationType`.

        Raises:
            MissingToolError: the process ended.
        """
        import numpy as np

        rows, columns = values.shape
        process = self._started()
        header = json.dumps({"type": int(kind), "rows": rows, "columns": columns}).encode()
        try:
            process.stdin.write(header + b"\n")  # type: ignore[union-attr]
            process.stdin.write(np.ascontiguousarray(values, dtype=np.float32).data)  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            line = process.stdout.readline()  # type: ignore[union-attr]
            size = json.loads(line)["bytes"]
            blocks = process.stdout.read(size)  # type: ignore[union-attr]
        except (OSError, ValueError) as error:
            said = (process.communicate()[1] or b"").decode(errors="replace").strip().splitlines()
            raise MissingToolError(
                f"llama.cpp's quantizer ended ({self.python}): {said[-1] if said else error}", "make llamacpp"
            ) from error
        return np.frombuffer(blocks, dtype=np.uint8).reshape(rows, -1)

    def _started(self) -> Any:
        """Return the process, started at the first call."""
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-I", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        return self._process
