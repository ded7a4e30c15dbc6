"""One llama.cpp server over a GGUF file as a child process that dies with this one."""

import json
import logging
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from tasks.core.errors import MissingToolError, TransientError
from tasks.core.keeper import held, let_go
from tasks.core.progress import duration
from tasks.engine.server import HOST, INHERITED, POLL_S, STOP_GRACE_S, require_free_port

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("host.py")
#: Requests that are answered at a time.
PARALLEL = 4
#: ggml's threads wait for each other by spinning: on a machine with other work, one on each core hold each other up.
THREADS = max(1, (os.cpu_count() or 1) // 2)
LINES_QUOTED = 3


class LlamaCppServer:
    """A llama.cpp server on loopback; a context manager that ends it.

    Args:
        python: interpreter of .venv-llamacpp.
    """

    def __init__(self, python: Path) -> None:
        self.python = python
        self.port = 0
        self.log_path = Path(os.devnull)
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LlamaCppServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base URL of the server, without /v1."""
        return f"http://{HOST}:{self.port}"

    def start(self, file: Path, port: int, name: str, log_path: Path, *, context_tokens: int) -> None:
        """Start serving a GGUF file under a name; returns at once.

        Args:
            file: the GGUF file.
            port: loopback port.
            name: the `model` of requests.
            log_path: where the server's output goes.
            context_tokens: room for all conversations together.

        Raises:
            MissingToolError: llama.cpp is not installed, or the port is taken.
        """
        if not self.python.is_file():
            raise MissingToolError(f"llama.cpp is not installed: {self.python} does not exist", "make llamacpp")
        require_free_port(port, "--port")
        self.port, self.log_path = port, log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            "file": str(file.resolve()), "host": HOST, "port": port, "name": name, "context_tokens": context_tokens,
            "parallel": PARALLEL, "threads": THREADS,
        }  # fmt: skip
        command = [str(self.python), "-I", str(SCRIPT), json.dumps(settings)]
        environment = {variable: os.environ[variable] for variable in INHERITED if variable in os.environ}
        with log_path.open("wb") as output:
            self._keeper = subprocess.Popen(
                held(command, STOP_GRACE_S), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, timeout_s: float = 120.0) -> float:
        """Wait until the server answers and return the seconds that took.

        Raises:
            TransientError: it ended, or is not ready in time; the message quotes its log.
        """
        started = time.monotonic()
        while not self._healthy():
            if self._keeper is None or self._keeper.poll() is not None:
                raise TransientError(f"llama.cpp ended while starting: {self._said()}", f"read {self.log_path}")
            if time.monotonic() - started > timeout_s:
                raise TransientError(
                    f"llama.cpp was not ready after {duration(timeout_s)}: {self._said()}", f"read {self.log_path}"
                )
            time.sleep(POLL_S)
        return time.monotonic() - started

    def stop(self) -> None:
        """End the server; safe to call twice."""
        keeper, self._keeper = self._keeper, None
        if keeper:
            let_go(keeper, STOP_GRACE_S + 10)

    def _healthy(self) -> bool:
        """Return whether the model is loaded."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _said(self) -> str:
        """Return the last lines of the log."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LINES_QUOTED:]) or "its log is empty"
