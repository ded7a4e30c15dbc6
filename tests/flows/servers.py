"""A real Prefect server for tests: on a free port, with its own home, killed and started again at will."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tasks.core.project import TELEMETRY_OFF
from tasks.machine.network import answer_of

PREFECT = str(Path(sys.executable).with_name("prefect"))
LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}


class PrefectServer:
    """What `make prefect-ui` starts.

    Args:
        home: PREFECT_HOME; its log lies there too.
        database: address of its database; a sqlite file in its home where None.
    """

    def __init__(self, home: Path, database: str | None = None) -> None:
        self.home = home
        self.database = {"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "PrefectServer":
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **TELEMETRY_OFF, **LEASES, **self.database, "PREFECT_HOME": str(self.home)}
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while answer_of(f"{self.url}/health") != 200:
            assert time.monotonic() < deadline, (self.home / "server.log").read_text("utf-8")[-3000:]
            time.sleep(0.3)
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(60)
