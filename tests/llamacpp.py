"""llama.cpp in tests: the optional environment, and a file served."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.core.project import Project
from tasks.engine.llamacpp.server import LlamaCppServer

ROOT = Path(__file__).parents[1]


def llamacpp_python() -> Path:
    """Return the interpreter with llama.cpp; skips where the optional environment is not made."""
    python = Project(ROOT).llamacpp_python
    if not python.is_file():
        pytest.skip("llama.cpp is not here: make llamacpp")
    return python


@contextmanager
def served(file: Path, port: int, name: str, *, context_tokens: int = 2048) -> Iterator[LlamaCppServer]:
    """Serve a GGUF file while the context lasts."""
    with LlamaCppServer(llamacpp_python()) as server:
        server.start(file, port, name, file.with_suffix(".log"), context_tokens=context_tokens)
        server.wait_ready()
        yield server
