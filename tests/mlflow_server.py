"""A real MLflow server as a process that a test can kill, stop for a while and start again on the same store."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from tasks.core.project import TELEMETRY_OFF


class MlflowServer:
    """A server on loopback; its store and artifacts outlive it.

    Args:
        folder: where its store lies.
        port: a free port.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
            "--artifacts-destination", str(folder / "artifacts"),
        ]  # fmt: skip
        #: What a server of another kind is told beside that.
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MlflowServer":
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        if self.process is None:
            environment = (
                os.environ | TELEMETRY_OFF | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.environment
            )
            with (self.folder / "server.log").open("ab") as output:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                    env=environment, start_new_session=True,
                )  # fmt: skip

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text("utf-8")[-3000:]
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return bool(urlopen(f"{self.url}/health", timeout=2).status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """End it with signal 9, workers and all, if it has not ended yet."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.process = None

    def signal(self, number: int) -> None:
        if self.process:
            os.killpg(self.process.pid, number)
