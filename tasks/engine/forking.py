"""Servers forked from one process that has imported vLLM already, for as long as several are started in a row.

On two cores a server of the laptop model was ready after 28 s, 15 of them imports. Whoever starts several (`tunegate
run`: one an evaluated hop; the tests) keeps a fork server and names its folder in the environment; `VllmServer` uses it
where it was started with the same environment, and starts a process of its own where not. Never with CUDA.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from tasks.core.digest import sha256_json
from tasks.core.keeper import held

log = logging.getLogger(__name__)

#: Environment variable: the folder with the sockets of fork servers.
FOLDER = "TUNEGATE_FORK_SERVERS"
SERVER = Path(__file__).with_name("fork_server.py")
CLIENT = Path(__file__).with_name("fork_client.py")
STOP_GRACE_S = 15.0


class ForkServers:
    """A fork server an environment, all of which die with this process; processes below this one use them.

    Use as a context manager around whatever starts servers.

    Args:
        python: interpreter of the serving environment, a CPU build.
        environments: the servers' whole environments (`server_environment`), for most callers one.
        log_path: gets what the imports say.
    """

    def __init__(self, python: Path, environments: Sequence[dict[str, str]], log_path: Path) -> None:
        self.python, self.environments, self.log_path = python, environments, log_path
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._keepers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "ForkServers":
        """Start them; they import while this process goes on, and the first request waits for its own."""
        self._folder = tempfile.TemporaryDirectory(prefix="tunegate-")  # short: a socket's path has 107 bytes
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as output:
            folder = Path(self._folder.name)
            self._keepers = [self._started(folder, environment, output) for environment in self.environments]
        os.environ[FOLDER] = self._folder.name
        return self

    def _started(self, folder: Path, environment: dict[str, str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Return the keeper of a fork server for one environment."""
        return subprocess.Popen(
            held([str(self.python), str(SERVER), str(socket_path(folder, self.python, environment))], STOP_GRACE_S),
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder,
            start_new_session=True,
        )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.environ.pop(FOLDER, None)
        for keeper in self._keepers:
            if keeper.stdin:
                keeper.stdin.close()
        for keeper in self._keepers:
            keeper.wait()
        if self._folder:
            self._folder.cleanup()


def socket_path(folder: Path, python: Path, environment: dict[str, str]) -> Path:
    """Return where a fork server of an interpreter listens: imports read the environment, so another is another.

    But for PATH: no import reads it, a forked server gets that of who asks, and every process between `tunegate run`
    and its stages (Prefect, DVC, the stage) may put its own folder in front of it.
    """
    imported_under = {name: value for name, value in environment.items() if name != "PATH"}
    return folder / f"{sha256_json([str(python.absolute()), imported_under])[:16]}.sock"


def forked(python: Path, arguments: list[str], environment: dict[str, str]) -> list[str] | None:
    """Return the command that asks a running fork server for a server; None where there is none for it.

    Args:
        python: interpreter of the serving environment.
        arguments: of the server, without interpreter and module.
        environment: of the server, whole.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    path = socket_path(Path(folder), python, environment)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return None
    return [sys.executable, "-I", "-S", str(CLIENT), str(path), *arguments]
