"""Nights that go wrong, on a real server with real workers: restarted, killed, rebooted, started twice."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orphans import sweep
from flows.processes import runs_here, workers_here
from flows.silence import HEARTBEAT
from flows.workers import worker_name
from tests.flows.servers import PrefectServer

pytestmark = pytest.mark.slow

PYTHON = sys.executable
TEMPORARY = """
import sys
from prefect import flow, task
@task
def one(n): return n
@flow
def many(): return sum(one(n) for n in range(10))
assert many() == 45
"""


@pytest.fixture
def night(tiny_project, monkeypatch):
    """A project whose training takes all night, its server, and a way to start its workers."""
    path = tiny_project.root / "dvc.yaml"
    before = "cp params.yaml data/models/adapter/rows.txt"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, f"sleep 600; {before}"), "utf-8")
    server = PrefectServer(tiny_project.state / "prefect")
    monkeypatch.setenv("PREFECT_HOME", str(server.home))
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    server.start()
    yield server
    server.kill(signal.SIGTERM)


@contextmanager
def workers(project, until, name):
    """What `make workers` starts, killed like by a reboot on leaving."""
    log = project.root / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "flows.workers"], cwd=project.root, stdout=output, stderr=output, start_new_session=True
        )
    try:
        until(lambda: log.read_text("utf-8").count("Worker '") >= 3, log)
        yield log, process
    finally:
        kill_all(process, project)


def kill_all(process, project) -> None:
    """Kill everything that was started from a project, at once: what a power cut does."""
    process.kill()
    process.wait()
    for _ in range(3):
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment, words = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
            except OSError:
                continue
            ours = f"TUNEGATE_ROOT={project.root}\0".encode() in environment and int(path.name) != os.getpid()
            if ours and b"server\0start" not in words:
                os.kill(int(path.name), signal.SIGKILL)
        time.sleep(0.2)


def worker_of(pool) -> int:
    """The worker's own process: the last of those that carry its name."""
    return workers_here(worker_name(pool), os.environ["PREFECT_API_URL"])[-1]


def kill_run(run_id) -> None:
    """Kill a run that has no worker, and have the sweep of a worker's end find it."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"PREFECT__FLOW_RUN_ID={run_id}\0".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
    with prefect_client() as client:
        sweep(client, [worker_name("gpu")], [], settled=timedelta(0))
    assert state_of(run_id) == "Crashed"


@contextmanager
def prefect_client():
    url = os.environ["PREFECT_API_URL"]
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        yield client


def state_of(run_id) -> str:
    with prefect_client() as client:
        return client.read_flow_run(run_id).state.name


def heartbeats_of(run_id) -> list[dict]:
    """The heartbeats of a run that name its deployment, as the automation wants them."""
    wanted = {"event": {"name": [HEARTBEAT]}, "resource": {"id": [f"prefect.flow-run.{run_id}"]}}
    with prefect_client() as client:
        found = client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]
    roles = [{item["prefect.resource.role"] for item in event["related"]} for event in found]
    return [event for event, names in zip(found, roles, strict=True) if "deployment" in names]


def start(project, name) -> str:
    command = [PYTHON, "-m", "flows.trigger", "stage/gpu", "--param", f"name={name}"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=180, check=True)
    return json.loads(done.stdout.splitlines()[-1])["run_id"]


def test_a_night_of_restarts_and_power_cuts(night, tiny_project, until):
    with workers(tiny_project, until, "first") as (log, _):
        training = start(tiny_project, "train")
        until(lambda: state_of(training) == "Running", log)
        until(lambda: training in runs_here(), log)
        # A second `make workers` says so instead of taking the first one's runs for its own.
        twin = subprocess.run([PYTHON, "-m", "flows.workers"], cwd=tiny_project.root, capture_output=True, text=True)
        assert twin.returncode == 2
        assert "runs already: process" in twin.stderr
        # The server is killed and comes back: the run goes on, and still holds its place.
        night.kill()
        night.start()
        waiting = start(tiny_project, "prepare")
        time.sleep(15)
        assert (state_of(training), training in runs_here()) == ("Running", True)
        assert state_of(waiting) in ("Scheduled", "Late")
        # An automation on the server waits for their end; what was sent while it was away may be lost, the next comes.
        until(lambda: heartbeats_of(training), log)
        night.kill()
    assert training not in runs_here()
    night.start()
    assert state_of(training) == "Running", "nobody told the server"
    with workers(tiny_project, until, "second") as (log, process):
        assert "its place in queue gpu is free" in log.read_text("utf-8")
        assert state_of(training) == "Crashed"
        until(lambda: state_of(waiting) == "Completed", log)
        last = start(tiny_project, "train")
        until(lambda: last in runs_here() and state_of(last) == "Running", log)
        # A worker is killed: its run goes on, and another worker comes.
        os.kill(worker_of("gpu"), signal.SIGKILL)
        until(lambda: log.read_text("utf-8").count("Worker '") >= 4, log)
        assert (state_of(last), last in runs_here()) == ("Running", True)
        kill_run(last)
        # Ctrl-C: the worker ends its runs, and they are not left as running.
        last = start(tiny_project, "train")
        until(lambda: last in runs_here() and state_of(last) == "Running", log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert last not in runs_here()
        assert state_of(last) not in ("Running", "Pending")


def test_two_temporary_servers_on_one_database(tiny_project, monkeypatch):
    """Two `tunegate run` at once in a fresh checkout: the stages are DVC's to lock, the database is Prefect's."""
    script = tiny_project.root / "temporary.py"
    script.write_text(TEMPORARY, "utf-8")
    environment = {
        **os.environ, "PREFECT_HOME": str(tiny_project.state / "prefect"), "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }  # fmt: skip
    tiny_project.state.mkdir(exist_ok=True)
    runs = [
        subprocess.Popen([PYTHON, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True) for _ in range(2)
    ]  # fmt: skip
    # Each server may take 120 s to start, beside the other; ten tasks and its end come after that.
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    assert all("Starting temporary server" in text and "locked" not in text for text in said)
