"""The worker with the credential for promotion, and a Prefect login in wrong hands: a real server, a real worker."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from tests.flows.servers import PrefectServer

pytestmark = pytest.mark.slow

#: What a run must not do: its code, command, environment and pull steps come from whoever may write to the server.
EVIL = """
import os
from pathlib import Path
from prefect import flow
Path(os.environ["TUNEGATE_ROOT"], "evil").write_text(os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
@flow
def reconcile():
    return 1
def pull():
    Path(os.environ["TUNEGATE_ROOT"], "pulled").write_text("")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = PrefectServer(tmp_path_factory.mktemp("server") / "prefect").start()
    yield found
    found.kill()


@pytest.fixture
def client(server, tiny_project, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    monkeypatch.setenv("PREFECT_HOME", str(tiny_project.state / "prefect"))
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as found:
        yield found


@contextmanager
def worker(project, command: list[str], monkeypatch):
    """A worker that holds a credential; ended with what it started."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of the promoter")
    with (project.root / "worker.log").open("ab") as log:
        started = subprocess.Popen(command, cwd=project.root, stdout=log, stderr=log, start_new_session=True)
    try:
        yield project.root / "worker.log"
    finally:
        started.terminate()
        started.wait(240)  # it may be busy with a run, and the machine with other tests


def ended(client, run, log: Path):
    deadline = time.monotonic() + 120
    while not (state := client.read_flow_run(run.id).state).is_final():
        assert time.monotonic() < deadline, log.read_text("utf-8")[-4000:]
        time.sleep(0.5)
    return state


def start(client, name: str, **job_variables: object):
    found = client.read_deployment_by_name(name)
    return client.create_flow_run_from_deployment(found.id, state=Scheduled(), job_variables=job_variables or None)


def test_what_the_server_says_of_a_deployment_is_not_run(client, tiny_project, monkeypatch):
    """One story with one worker: it takes a quarter of a minute to start."""
    root = tiny_project.root
    subprocess.run([sys.executable, "-m", "flows.workers", "--deploy-only"], cwd=root, check=True, timeout=120)
    (root / "evil.py").write_text(EVIL, "utf-8")
    evil = {"entrypoint": f"{root}/evil.py:reconcile", "pull_steps": [{"evil.pull": {}}]}
    client.update_deployment(client.read_deployment_by_name("reconcile/reconcile").id, DeploymentUpdate(**evil))
    template = client.read_work_pool("release").base_job_template
    template["job_configuration"] |= {
        "command": f"{sys.executable} {root}/evil.py",
        "env": {"PYTHONSTARTUP": "evil.py"},
    }
    client.update_work_pool("release", WorkPoolUpdate(base_job_template=template))
    own = [sys.executable, "-m", "flows.release_worker", "worker", "--name", "release-here"]
    with worker(tiny_project, own, monkeypatch) as log:
        run = start(
            client, "reconcile/reconcile", command=f"{sys.executable} {root}/evil.py", env={"PYTHONPATH": str(root)}
        )
        assert ended(client, run, log).is_completed(), log.read_text("utf-8")[-4000:]
        assert "there is no champion" in log.read_text("utf-8")
        # Another flow under a name that this checkout does not have.
        flow_id = client.read_deployment_by_name("reconcile/reconcile").flow_id
        other = client.create_deployment(flow_id=flow_id, name="evil", work_pool_name="release", **evil)
        run = client.create_flow_run_from_deployment(other, state=Scheduled())
        state = ended(client, run, log)
        assert state.is_crashed()
        assert "and not 'evil'" in state.message
        # Parameters are the flow's to check.
        found = client.read_deployment_by_name("rollback/rollback")
        client.update_deployment(found.id, DeploymentUpdate(enforce_parameter_schema=False))
        run = client.create_flow_run_from_deployment(found.id, state=Scheduled(), parameters={"reason": [1]})
        assert ended(client, run, log).is_failed()
    assert not (root / "evil").exists()
    assert not (root / "pulled").exists()

    # The planted fault: with Prefect's own worker the same run has the credential.
    plain = ["prefect", "worker", "start", "--pool", "release", "--type", "process", "--name", "plain"]
    with worker(tiny_project, plain, monkeypatch) as log:
        run = start(client, "reconcile/reconcile")
        deadline = time.monotonic() + 120
        while not (root / "evil").exists():
            assert time.monotonic() < deadline, log.read_text("utf-8")[-4000:]
            time.sleep(0.5)
    assert (root / "evil").read_text("utf-8") == "of the promoter"
