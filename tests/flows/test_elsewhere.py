"""A stage on another pool, on a real server: no worker, a server that goes and comes back, a cancelled pipeline."""

import contextvars
import logging
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)
from prefect.states import Completed, Failed

from flows import elsewhere, transient
from flows.elsewhere import run_elsewhere
from flows.environment import PREFECT
from flows.limits import Allowance
from flows.run import Run
from flows.transient import answered, is_silence
from tasks.core.errors import ConfigError, GateFailedError, TransientError, TunegateError
from tasks.core.params.orchestration import LimitsParams
from tasks.core.settings import load_settings
from tests.flows.servers import PrefectServer

log = logging.getLogger("test")
ENOUGH = Allowance.begin(LimitsParams(run_timeout_s=3600.0, stage_timeout_s=3600.0))


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


def test_what_must_be_said_to_a_server_waits_for_it(monkeypatch, caplog):
    monkeypatch.setattr(transient, "ASK_EVERY_S", 0.0)
    answers = [httpx.ConnectError("refused"), _response(500), _response(503), None]

    def ask():
        answer = answers.pop(0)
        if answer:
            raise answer
        return "一"

    assert answered(ask, "train", log) == "一"
    assert caplog.messages == ["train: the Prefect server does not answer; asking it again"] * 3
    # A refusal is an answer, and half an hour is enough.
    answers.append(_response(404))
    with pytest.raises(httpx.HTTPStatusError):
        answered(ask, "train", log)
    monkeypatch.setattr(transient, "SILENCE_S", 0.0)
    answers.append(_response(503))
    with pytest.raises(httpx.HTTPStatusError):
        answered(ask, "train", log)


def test_a_server_whose_database_is_away_is_asked_again(monkeypatch):
    codes = [500, 504, 200]
    monkeypatch.setattr("prefect.client.base.time.sleep", lambda _: None)
    transport = httpx.MockTransport(lambda request: httpx.Response(codes.pop(0)))
    setting = {PREFECT_CLIENT_RETRY_EXTRA_CODES: PREFECT["PREFECT_CLIENT_RETRY_EXTRA_CODES"]}
    with temporary_settings(setting), PrefectHttpxSyncClient(transport=transport) as client:
        assert client.get("http://127.0.0.1/api/flows").status_code == 200
    assert codes == []


@pytest.fixture
def server(tiny_project, monkeypatch):
    found = PrefectServer(tiny_project.state / "prefect")
    monkeypatch.setenv("PREFECT_HOME", str(found.home))
    monkeypatch.setenv("PREFECT_API_URL", found.url)
    found.start()
    deploy = [sys.executable, "-m", "flows.workers", "--deploy-only"]
    subprocess.run(deploy, cwd=tiny_project.root, check=True, capture_output=True)
    with temporary_settings({PREFECT_API_URL: found.url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield found
    found.kill(signal.SIGTERM)


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
    ours = Run(tiny_project, load_settings(tiny_project.root / "params.yaml"))

    # Nobody takes the run: no wait for ever, and no run left that a later worker would begin with.
    monkeypatch.setattr(elsewhere, "PICK_UP_S", 1.0)
    with pytest.raises(TransientError, match="no worker took the run of stage/gpu"):
        run_elsewhere(train, "stage/gpu", ours, log, ENOUGH)
    assert _runs()[-1].state.name in ("Cancelling", "Cancelled")
    monkeypatch.setattr(elsewhere, "PICK_UP_S", 600.0)

    with pytest.raises(ConfigError, match="stage/nowhere"):
        run_elsewhere(train, "stage/nowhere", ours, log, ENOUGH)

    # The time is over.
    short = Allowance.begin(LimitsParams(run_timeout_s=1.0, stage_timeout_s=1.0))
    with pytest.raises(TunegateError, match=r"took longer than 1 s \(limits.run_timeout_s\)"):
        run_elsewhere(train, "stage/gpu", ours, log, short)
    assert _runs()[-1].state.name in ("Cancelling", "Cancelled")

    # A refusal comes back as the error it was.
    before = len(_runs())

    def refuse():
        while len(_runs()) == before:
            time.sleep(0.1)
        _ends(Failed(message="Flow run encountered an exception: GateFailedError: 未通过\n  next: tunegate status"))

    with meanwhile(refuse), pytest.raises(GateFailedError, match="未通过"):
        run_elsewhere(train, "stage/gpu", ours, log, ENOUGH)

    # The server is lost when it has made the run and before it says so: it is one run.
    before, made = len(_runs()), elsewhere.run_deployment
    lost = [httpx.ReadError("cut")]

    def cut(*args, **kwargs):
        run = made(*args, **kwargs)
        if lost:
            raise lost.pop()
        _ends(Completed())
        return run

    monkeypatch.setattr(elsewhere, "run_deployment", cut)
    monkeypatch.setattr(transient, "ASK_EVERY_S", 0.1)
    run_elsewhere(train, "stage/gpu", ours, log, ENOUGH)
    assert len(_runs()) == before + 1
    monkeypatch.setattr(elsewhere, "run_deployment", made)

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
        run_elsewhere(train, "stage/gpu", ours, log, ENOUGH)
    assert "the Prefect server does not answer" in caplog.text

    # It does not come back: an error that is tried again.
    monkeypatch.setattr(elsewhere, "SILENCE_S", 1.0)
    before = len(_runs())

    def kill():
        while len(_runs()) == before:
            time.sleep(0.1)
        server.kill()

    with meanwhile(kill), pytest.raises(httpx.HTTPError) as caught:
        run_elsewhere(train, "stage/gpu", ours, log, ENOUGH)
    assert is_silence(caught.value)
