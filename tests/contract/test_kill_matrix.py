"""kill -9 of everything that takes part in a change of champion, forty rounds, with callers at the gateway.

Real host, gateway, control socket, MLflow server and command line; a stand-in takes the vLLM executable's place. After
each round one look of the reconciler must leave one version live, with alias, history and host's record agreeing, and
nobody may have got half an answer that looked like a whole one.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import threading
import time
from multiprocessing.context import ForkServerProcess

import httpx
import pytest
import yaml

from tasks.core.errors import TransientError, TunegateError
from tasks.core.settings import load_settings
from tasks.release.history import read_history
from tasks.release.journal import Journal
from tasks.release.reconcile import promote, reconcile_once
from tasks.release.registry import Registry
from tasks.serving import control
from tests.contract.changing import PLACES, start
from tests.contract.conftest import unused_ports
from tests.contract.hosts import processes_of, register_version, server_pids
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

ROUNDS = 40
VERSIONS = ("1", "2", "3")
CHAT = "/v1/chat/completions"
STREAMED = {"model": "champion", "messages": [{"role": "user", "content": "碘片什么时候服用？"}], "stream": True}

STEPS = tuple(PLACES)
VICTIMS = (*STEPS, "command", "host", "vllm", "host and command", "mlflow", "mlflow and host", "nobody")


class Callers:
    """Stream answers one after another, and remember what each looked like at its end."""

    def __init__(self, project) -> None:
        self.project, self.key = project, project.key("病房")
        self.whole = self.refused = self.broken_visibly = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=lambda: asyncio.run(self._ask())) for _ in range(2)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    async def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                # Not what the environment says of proxies: the main thread changes it meanwhile (tracking.SHORT_WAITS).
                async with httpx.AsyncClient(
                    base_url=self.project.project.gateway_url, headers=headers, trust_env=False
                ) as client:
                    await self._one(client)
            await asyncio.sleep(0.05)

    async def _one(self, client: httpx.AsyncClient) -> None:
        try:
            response = await client.post(CHAT, json=STREAMED)
        except httpx.TransportError:
            self.broken_visibly += 1
            return
        if response.status_code != 200:
            self.refused += 1
        elif response.text.endswith("data: [DONE]\n\n"):
            self.whole += 1
        elif '"error"' in response.text.strip().split("\n\n")[-1]:
            self.broken_visibly += 1
        else:
            self.wrong.append(response.text[-200:])


@pytest.fixture
def mlflow(project, monkeypatch):
    """The store as a server of its own; who meets it dead gives up soon, so that a round leaves something to settle."""
    with MlflowServer(project.root.parent / "mlflow-server", unused_ports(1)[0]) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        yield server


@pytest.fixture
def three(project, mlflow, monkeypatch):
    """Three registered versions whose weights the stand-in can serve, the first one live."""
    monkeypatch.setenv("TUNEGATE_USER", "王工")
    # A busy machine starts slowly; what is tested here is not its patience.
    params = yaml.safe_load((project.root / "params.yaml").read_text("utf-8"))
    params["serve"]["vllm"]["startup_timeout_s"] = 60.0
    params["promote"]["smoke_timeout_s"] = 60.0
    (project.root / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    settings = load_settings(project.root / "params.yaml")
    for number in VERSIONS:
        register_version(project, settings, number, token_s=0.02)
    promote(project.project, settings, "1", by="王工", reason="首次")
    return settings


def kill(project, mlflow: MlflowServer, victim: str, command: ForkServerProcess) -> None:
    """End the victims of a round, each with signal 9."""
    if "mlflow" in victim:
        mlflow.kill()
    if "command" in victim:
        command.kill()
    if "host" in victim:
        with contextlib.suppress(TransientError):
            project.kill_host()
    if victim == "vllm":
        for pid in server_pids(project):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def settled(project, settings) -> dict:
    """Look as the reconciler does until it has nothing to do, and return what the host says."""
    deadline, last = time.monotonic() + 60, None
    while time.monotonic() < deadline:
        try:
            outcome = reconcile_once(project.project, settings)
            status = control.host_status(project.project)
        except TunegateError as error:
            last = error
            time.sleep(0.2)
            continue
        last = outcome, status
        if outcome["action"] == "none" and status and status["healthy"] and Journal(project.project).read() is None:
            return status
        time.sleep(0.1)
    log = (project.project.state / "serving" / "host.log").read_text("utf-8")[-3000:]
    pytest.fail(f"it does not settle: {last}\n{log}")


def test_forty_rounds_of_kill_9(project, mlflow, three):
    settings, dice = three, random.Random(20261129)
    registry = Registry(project.project, settings.register_.model_name)
    seen = dict.fromkeys(VICTIMS, 0)
    with Callers(project) as callers:
        for number in range(ROUNDS):
            victim = VICTIMS[number % len(VICTIMS)]
            present = registry.champion().number
            kind = "rollback" if number % 5 == 4 else "promote"
            wanted = dice.choice([version for version in VERSIONS if version != present])
            length = len(read_history(registry))
            step = f"mlflow at {dice.choice(STEPS)}" if victim == "mlflow" else victim
            command, ready = start(step, kind, wanted, f"李审 {number}", mlflow.process.pid)
            if victim not in (*STEPS, "mlflow", "nobody"):
                assert ready.wait(60)
                time.sleep(dice.uniform(0.0, 1.5))
                kill(project, mlflow, victim, command)
            command.join()
            if victim in STEPS and kind == "promote":
                assert command.exitcode == -signal.SIGKILL, (number, victim)
            if "mlflow" in victim:
                mlflow.kill()
                mlflow.start()
            status = settled(project, settings)
            history = read_history(registry)
            champion = registry.champion().number
            assert status["version"] == status["wanted"] == champion == history[-1].version, (number, victim, kind)
            assert len(history) - length in (0, 1), (number, victim, kind)
            if len(history) > length:
                assert (history[-1].by, history[-1].kind) == (f"李审 {number}", kind), (number, victim)
            seen[victim] += 1
    assert min(seen.values()) >= 3
    assert callers.wrong == []
    assert callers.whole > ROUNDS
    control.stop_host(project.project)
    deadline = time.monotonic() + 30
    while processes_of(project):
        assert time.monotonic() < deadline, "something was left running"
        time.sleep(0.1)
    served = json.loads((project.project.state / "serving" / "served.json").read_text("utf-8"))
    assert served["given_up"] == {}
