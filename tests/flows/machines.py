"""Two machines and what lies between them, each piece to be killed and started again at will."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows.processes import workers_here
from flows.scope import VARIABLE
from flows.workers import POOLS
from tasks.core.keeper import alive
from tasks.core.project import Project
from tests.contract.conftest import unused_ports
from tests.flows import held
from tests.flows.clones import REMOTE, clone, environment_of, git_environment, make_origin
from tests.flows.servers import PrefectServer
from tests.flows.wire import Wire
from tests.postgres import Postgres

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, said: Callable[[], str], timeout_s: float = 120) -> T:
    """Wait for something and return it; the error has the end of what was said."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s\n{said()}"
        time.sleep(0.1)
    return found


class Machine:
    """A clone, its `make workers` of one pool, and its own ways to the Prefect server and to the DVC remote.

    Args:
        origin: where it is cloned from.
        folder: its own.
        pool: which worker it has.
        server: port of the Prefect server.
        remote: folder of the DVC remote, which it reaches by a link of its own.
    """

    def __init__(self, origin: Path, folder: Path, pool: str, server: int, remote: Path) -> None:
        self.folder, self.pool, self.remote = folder, pool, remote
        folder.mkdir()
        self.link = folder / "remote"
        self.link.symlink_to(remote)
        self.project = clone(origin, folder / "项目", self.link)
        self.wire = Wire(unused_ports(1)[0], server)
        self.url = f"http://127.0.0.1:{self.wire.port}/api"
        self.log = folder / "workers.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, name: str, stages: Path, cards: Path) -> None:
        """Start `make workers`.

        Args:
            name: of the project on the server: its pools and deployments are this run's alone.
            stages: folder that says which stages wait.
            cards: temporary folder, which has the leases of the cards.
        """
        self.name = name
        # A worker asks for work every 10 s otherwise: the tests' time, and nobody's fault is found by it.
        environment = environment_of(self.project) | {
            "PREFECT_API_URL": self.url, "PREFECT_WORKER_QUERY_SECONDS": "1", VARIABLE: name, "TMPDIR": str(cards),
            held.VARIABLE: str(stages),
        }  # fmt: skip
        command = [sys.executable, "-m", "flows.workers", "--pool", self.pool]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.project.root, env=environment, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    def worker(self) -> int | None:
        """Return the worker's own process: the last of those that carry its name."""
        found = workers_here(f"{self.name}-{self.pool}-{platform.node()}", self.url)
        return found[-1] if len(found) > 1 else None

    def cut(self) -> None:
        """Cut its network: neither server nor remote answers."""
        self.wire.cut()
        self.link.unlink()
        # Not nothing: DVC would make the folder, and take it for the remote.
        self.link.write_text("不通", "utf-8")

    def mend(self) -> None:
        self.link.unlink()
        self.link.symlink_to(self.remote)
        self.wire.mend()

    def stop(self) -> None:
        """End `make workers` as Ctrl-C does."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def kill(self) -> None:
        """End all that is left of it."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(60)

    def processes(self) -> dict[int, str]:
        """Return the processes that were started from its clone, with their command lines."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            pid = int(path.parent.name)
            try:
                ours = f"TUNEGATE_ROOT={self.project.root}".encode() in path.read_bytes()
                words = path.with_name("cmdline").read_text("utf-8").replace("\0", " ")
            except OSError:
                continue
            if ours and pid != os.getpid() and alive(pid):
                found[pid] = words
        return found


class Site:
    """An origin, two machines with nothing in common but a DVC remote, a Prefect server, and its Postgres.

    Args:
        folder: everything lies below it, but the database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote = folder, folder / "remote"
        self.remote.mkdir()
        self.origin = make_origin(folder / "origin", REMOTE, held.held_stage())
        self.postgres = Postgres(unused_ports(1)[0]).start()
        database = self.postgres.create("prefect", "postgresql+asyncpg")
        self.server = PrefectServer(folder / "prefect", database).start()
        self.cpu, self.gpu = (Machine(self.origin, folder / name, pool, self.server.port, self.remote)
                              for name, pool in (("甲", "cpu"), ("乙", "gpu")))  # fmt: skip
        self.machines = {"cpu": self.cpu, "gpu": self.gpu}

    def begin(self, name: str, stages: Path, cards: Path) -> None:
        """Start both machines' workers."""
        # What `make workers` does too, by a command of Prefect's for each: its time is not this test's matter.
        with get_client(sync_client=True) as client:
            for pool in POOLS:
                client.create_work_pool(WorkPoolCreate(name=f"{name}-{pool}", type="process"))
        for machine in (self.cpu, self.gpu):
            machine.kill()
            machine.start(name, stages, cards)
            # One after the other: both have pools and deployments made where there are none.
            until(lambda log=machine.log: f"workers for {name}-" in log.read_text("utf-8"), "workers", self.said)

    def said(self) -> str:
        """Return the last lines of every log."""
        logs = [self.cpu.log, self.gpu.log, self.server.home / "server.log"]
        return "\n".join(f"== {path}\n{path.read_text('utf-8')[-4000:]}" for path in logs if path.exists())

    def kill_server(self) -> None:
        """Kill the server; who comes by a wire finds its port closed, as who asks it directly does."""
        self.server.kill()
        for machine in self.machines.values():
            machine.wire.cut()

    def start_server(self) -> None:
        self.server.start()
        for machine in self.machines.values():
            machine.wire.mend()

    def close(self) -> None:
        for machine in self.machines.values():
            machine.kill()
            machine.wire.cut()
        self.server.kill(signal.SIGTERM)
        self.postgres.stop()


def site_environment() -> dict[str, str]:
    """Return what the environment of the tests themselves must say."""
    return git_environment() | {"GIT_TERMINAL_PROMPT": "0"}


def undisturbed(origin: Path, folder: Path, params: bytes, stages: list[str]) -> Project:
    """Run the bodies of all stages one after another, with nothing around them, and return the folder."""
    project = clone(origin, folder, folder)
    (project.root / "params.yaml").write_bytes(params)
    script = ("import runpy, sys\nfor name in sys.argv[1:]:\n    sys.argv = ['stage.py', name]\n"
              "    runpy.run_path('stage.py', run_name='__main__')")  # fmt: skip
    subprocess.run([sys.executable, "-c", script, *stages], cwd=project.root, env=environment_of(project), check=True)
    return project
