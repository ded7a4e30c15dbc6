"""What tests in several rooms need: real processes in groups of their own, ended on leaving; waiting with a limit."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Prefect wants its home on import and warns, an error here, where a clean checkout has no such folder yet."""
    home = tempfile.TemporaryDirectory(prefix="tunegate-prefect-")
    config.add_cleanup(home.cleanup)
    os.environ["PREFECT_HOME"] = home.name


class Running:
    """A process in its own group, its output in a file, ended on leaving.

    Args:
        command: what to start.
        folder: where it runs and where `<name>.log` is written.
        environment: its environment; this process's where None.
    """

    def __init__(self, command: list[str], folder: Path, name: str, environment: dict[str, str] | None = None) -> None:
        self.command, self.folder, self.environment = command, folder, environment
        self.log = folder / f"{name}.log"

    def __enter__(self) -> Path:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self.log

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def running() -> type[Running]:
    """A context manager for a process; gives its log file."""
    return Running


@pytest.fixture(scope="session")
def until():
    """Wait for a condition; at the limit the test fails with the end of the log."""

    def wait(condition, log: Path, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s} s; {log.name} says:\n{log.read_text(encoding='utf-8')[-4000:]}")
            time.sleep(0.5)

    return wait
