"""infra/prefect.yaml on a real Prefect server: pools, deployments, one worker a pool, runs, and how they end."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.limits import Allowance
from flows.pipeline import hand_to_release
from tasks.core.errors import ConfigError
from tasks.core.params.orchestration import LimitsParams
from tasks.core.project import find_root
from tasks.machine.network import answer_of

pytestmark = pytest.mark.slow

PYTHON = sys.executable


@pytest.fixture
def server(tiny_project, monkeypatch, running, until):
    """A server with its own database on a free port; ended with all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PREFECT_HOME", str(tiny_project.state / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    tiny_project.state.mkdir(exist_ok=True)
    prefect = str(Path(PYTHON).with_name("prefect"))
    command = [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, tiny_project.root, "server") as log:
        until(lambda: answer_of(f"http://127.0.0.1:{port}/api/health") == 200, log)
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        yield f"http://127.0.0.1:{port}/api"


@pytest.fixture
def workers(server, tiny_project, running, until):
    """What `make workers` starts, from the project's folder."""
    with running([PYTHON, "-m", "flows.workers"], tiny_project.root, "workers") as log:
        until(lambda: log.read_text().count("Worker '") >= 3, log)
        yield log


@flow
def ends_with_release(version: str) -> None:
    """The end of nightly, without the hours before it."""
    hand_to_release(
        version, True, "golive/golive", Allowance.begin(LimitsParams(run_timeout_s=300, stage_timeout_s=300))
    )


def _trigger(project, *words):
    command = [PYTHON, "-m", "flows.trigger", *words, "--poll-s", "1"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_runs_started_from_prefect_do_what_the_commands_do(server, workers, tiny_project):
    code, out, err = _trigger(tiny_project, "stage/gpu", "--param", "name=prepare", "--wait")
    assert code == 0, err + workers.read_text()[-4000:]
    assert json.loads(out.splitlines()[-1])["state"] == "Completed"
    assert (tiny_project.root / "data/prepared/rows.txt").is_file()

    code, out, err = _trigger(tiny_project, "stage/gpu", "--param", "name=gate", "--wait")
    assert code == 4, err
    assert "第三行不是 JSON" in err
    assert "next: mend line 3" in err

    code, _, err = _trigger(tiny_project, "stage/gpu", "--param", "name=不存在", "--wait")
    assert code == 2, err

    code, out, err = _trigger(tiny_project, "reconcile/reconcile", "--wait")
    assert code == 0, err + workers.read_text()[-4000:]

    # What a pipeline that may not promote hands over comes back as the error it was.
    with temporary_settings({PREFECT_API_URL: server}), pytest.raises(ConfigError, match="has no version 7"):
        ends_with_release("7")

    code, _, err = _trigger(tiny_project, "pipeline/weekly", "--wait")
    assert code == 2
    assert "make workers" in err

    # prepare and validate on the cpu pool, train handed to the gpu pool; merge is no stage of the tiny project.
    code, _, err = _trigger(tiny_project, "pipeline/nightly", "--wait")
    assert code == 1, err
    assert "stage merge: DVC refused to run it" in err
    assert (tiny_project.root / "data/models/adapter/rows.txt").is_file()
    said = workers.read_text()
    assert "train: as a run of stage/gpu" in said
    assert "validate: as a run of" not in said


def test_workers_say_when_there_is_no_server(tiny_project, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    done = subprocess.run([PYTHON, "-m", "flows.workers"], cwd=find_root(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert "make prefect-ui" in done.stderr
