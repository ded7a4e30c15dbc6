"""A stage on another pool, on a real server: no worker, a server that goes and comes back, a cancelled pipeline."""

import contextvars
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed, Failed

from flows import elsewhere
from flows.elsewhere import run_elsewhere
from flows.silence import is_silence
from tasks.core.errors import ConfigError, GateFailedError, TransientError
from tasks.machine.network import answer_of

log = logging.getLogger("test")


def _response(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return httpx.HTTPStatusError("said", request=request, response=httpx.Response(code, request=request))


@pytest.mark.parametrize(
    ("error", "silent"),
    [(httpx.ConnectError("refused"), True), (httpx.ReadTimeout("slow"), True), (httpx.RemoteProtocolError("cut"), True),
     (_response(503), True), (_response(429), True), (_response(404), False), (_response(422), False),
     (ValueError("a bug"), False)],
)  # fmt: skip
def test_a_server_that_does_not_answer_is_silent_and_a_refusal_is_not(error, silent):
    assert is_silence(error) is silent


class Server:
    """A Prefect server on one port that can be killed and started again on the same database."""

    def __init__(self, project, running, until):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.project, self.running, self.until = project, running, until
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.serving = None

    def start(self):
        prefect = str(Path(sys.executable).with_name("prefect"))
        command = [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.serving = self.running(command, self.project.root, "server")
        log_file = self.serving.__enter__()
        self.until(lambda: answer_of(f"{self.url}/health") == 200, log_file)

    def kill(self):
        os.killpg(self.serving.process.pid, signal.SIGKILL)
        self.serving.process.wait()
        self.serving = None

    def stop(self):
        if self.serving:
            self.serving.__exit__()


@pytest.fixture
def server(tiny_project, running, until, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tiny_project.state / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    tiny_project.state.mkdir(exist_ok=True)
    found = Server(tiny_project, running, until)
    found.start()
    monkeypatch.setenv("PREFECT_API_URL", found.url)
    deploy = [sys.executable, "-m", "flows.workers", "--deploy-only"]
    subprocess.run(deploy, cwd=tiny_project.root, check=True, capture_output=True)
    with temporary_settings({PREFECT_API_URL: found.url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield found
    found.stop()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(elsewhere, "POLL_S", 0.2)
    monkeypatch.setattr(elsewhere, "SAY_EVERY_S", 0.5)


def _runs():
    with get_client(sync_client=True) as client:
        return sorted(client.read_flow_runs(), key=lambda run: run.created)


def _ends(state) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(_runs()[-1].id, state, force=True)


@contextmanager
def meanwhile(function):
    thread = threading.Thread(target=contextvars.copy_context().run, args=(function,))  # with Prefect's settings
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
def test_what_becomes_of_a_stage_on_another_pool(
    server, tiny_project, stage_called, quick, monkeypatch, caplog
):  # one server for all: it takes half a minute to start
    caplog.set_level(logging.INFO, logger="test")
    train = stage_called("train")

    # Nobody takes the run: no wait for ever, and no run left that a later worker would begin with.
    monkeypatch.setattr(elsewhere, "PICK_UP_S", 1.0)
    with pytest.raises(TransientError, match="no worker took the run of stage/gpu"):
        run_elsewhere(train, "stage/gpu", tiny_project, log, 60.0)
    assert _runs()[-1].state.name in ("Cancelling", "Cancelled")
    monkeypatch.setattr(elsewhere, "PICK_UP_S", 600.0)

    with pytest.raises(ConfigError, match="stage/nowhere"):
        run_elsewhere(train, "stage/nowhere", tiny_project, log, 60.0)

    # The time is over.
    with pytest.raises(TransientError, match="after 1 s"):
        run_elsewhere(train, "stage/gpu", tiny_project, log, 1.0)
    assert _runs()[-1].state.name in ("Cancelling", "Cancelled")

    # A refusal comes back as the error it was.
    before = len(_runs())

    def refuse():
        while len(_runs()) == before:
            time.sleep(0.1)
        _ends(Failed(message="Flow run encountered an exception: GateFailedError: 未通过\n  next: tunegate status"))

    with meanwhile(refuse), pytest.raises(GateFailedError, match="未通过"):
        run_elsewhere(train, "stage/gpu", tiny_project, log, 60.0)

    # The server is killed in the middle and comes back: the stage is not lost.
    before = len(_runs())

    def restart():
        while len(_runs()) == before:
            time.sleep(0.1)
        server.kill()
        time.sleep(2)
        server.start()
        _ends(Completed())

    with meanwhile(restart):
        run_elsewhere(train, "stage/gpu", tiny_project, log, 300.0)
    assert "the Prefect server does not answer" in caplog.text

    # It does not come back: an error that is tried again.
    monkeypatch.setattr(elsewhere, "SILENCE_S", 1.0)
    before = len(_runs())

    def kill():
        while len(_runs()) == before:
            time.sleep(0.1)
        server.kill()

    with meanwhile(kill), pytest.raises(httpx.HTTPError) as caught:
        run_elsewhere(train, "stage/gpu", tiny_project, log, 300.0)
    assert is_silence(caught.value)
