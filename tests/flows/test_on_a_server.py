"""What is written to a real Prefect server, and what is ended there: deployments, pauses, orphans, silent runs."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Failed, Pending, Running

from flows.deployments import deploy
from flows.notices import have_notices
from flows.order import workers_of
from flows.orphans import WORKER, sweep
from flows.outcome import GATE_FAILED
from flows.server import use_own_server
from flows.silence import HEARTBEAT, watch_for_silence
from flows.workers import refuse_twins, worker_name
from tasks.core.errors import ConfigError
from tasks.core.files import write_text
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tests.flows.servers import PrefectServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@flow(persist_result=False)
def other_flow() -> None:
    """A flow of somebody else's."""


HERE, ELSEWHERE = "cpu-this-host", "cpu-another-host"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = PrefectServer(tmp_path_factory.mktemp("server") / "prefect").start()
    yield found
    found.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def client(server):
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        for pool in ("cpu", "gpu", "release"):
            client.request("POST", "/work_pools/", json={"name": pool, "type": "process"})
        yield client


@pytest.fixture
def project(tmp_path):
    (tmp_path / "infra").mkdir()
    for name in ("infra/prefect.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    # One checkout in all tests: they share a server.
    write_text(Project(tmp_path).state / "checkout-id", "tests\n")
    return Project(tmp_path)


@pytest.fixture
def said(caplog):
    """The lines of our flows; on import, Prefect takes the root logger's handlers away."""
    logger = logging.getLogger("flows")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def settings_of(project, **changes):
    text = (project.root / "params.yaml").read_text("utf-8")
    for before, after in changes.values():
        assert before in text
        text = text.replace(before, after)
    (project.root / "params.yaml").write_text(text, "utf-8")
    return load_settings(project.root / "params.yaml")


def nightly(client):
    found = client.read_deployment_by_name("pipeline/nightly")
    (schedule,) = client.read_deployment_schedules(found.id)
    return found, schedule


def test_a_pause_stays_until_the_file_says_something_new(client, project):
    first = deploy(project, settings_of(project))
    found, schedule = nightly(client)
    assert (schedule.active, schedule.schedule.cron, schedule.schedule.timezone) == (
        False,
        "30 2 * * *",
        "Asia/Shanghai",
    )
    assert client.read_work_queue_by_name("nightly", work_pool_name="cpu").concurrency_limit == 1

    on = settings_of(
        project, nightly=('nightly: {cron: "30 2 * * *", active: false}', 'nightly: {cron: "30 2 * * *", active: true}')
    )
    assert deploy(project, on) == first
    assert nightly(client)[1].active is True

    # A person pauses it; no start of a worker, and no change of anything else, switches it on again.
    client.update_deployment_schedule(found.id, nightly(client)[1].id, active=False)
    client.pause_deployment(client.read_deployment_by_name("reconcile/reconcile").id)
    deploy(project, on)
    assert nightly(client)[1].active is False
    file = project.root / "infra" / "prefect.yaml"
    file.write_text(file.read_text("utf-8").replace("Data to served model", "数据到上线模型"), "utf-8")
    deploy(project, on)
    found, schedule = nightly(client)
    assert found.description.startswith("数据到上线模型")
    assert schedule.active is False
    assert client.read_deployment_by_name("reconcile/reconcile").paused is True

    later = settings_of(project, cron=("30 2 * * *", "15 3 * * 1-5"), zone=("Asia/Shanghai", "Asia/Urumqi"))
    deploy(project, later)
    _, schedule = nightly(client)
    assert (schedule.active, schedule.schedule.cron, schedule.schedule.timezone) == (
        True,
        "15 3 * * 1-5",
        "Asia/Urumqi",
    )


def test_a_deployment_of_an_earlier_release_loses_its_lease_and_keeps_its_pause(client, project):
    flow_id = client.create_flow_from_name("pipeline")
    old = DeploymentScheduleCreate(schedule=CronSchedule(cron="30 2 * * *"), active=False, slug="nightly-before")
    client.create_deployment(
        flow_id=flow_id, name="nightly", work_pool_name="cpu", concurrency_limit=1, schedules=[old], version="1"
    )
    on = settings_of(
        project, nightly=('nightly: {cron: "30 2 * * *", active: false}', 'nightly: {cron: "30 2 * * *", active: true}')
    )
    deploy(project, on)
    found, schedule = nightly(client)
    assert found.global_concurrency_limit is None
    assert found.work_queue_name == "nightly"
    assert (schedule.slug, schedule.active) == ("nightly", False)


def test_two_projects_share_a_server_and_nothing_on_it(client, project, tmp_path, monkeypatch):
    first = deploy(project, settings_of(project))
    other = Project(tmp_path / "第二个人")
    shutil.copytree(project.root / "infra", other.root / "infra")
    file = other.root / "infra" / "prefect.yaml"
    file.write_text(file.read_text("utf-8").replace("One stage that needs a GPU", "别人的"), "utf-8")
    settings = load_settings(project.root / "params.yaml")
    with pytest.raises(ConfigError, match="pipeline/nightly on this Prefect server is checkout-"):
        deploy(other, settings)
    assert not client.read_deployment_by_name("stage/gpu").description.startswith("别人的")
    assert deploy(other, settings, take_over=True) == first
    assert client.read_deployment_by_name("stage/gpu").description.startswith("别人的")
    assert deploy(project, settings, take_over=True) == first

    monkeypatch.setenv("TUNEGATE_PROJECT", "ward-7")
    for pool in ("cpu", "gpu", "release"):
        client.request("POST", "/work_pools/", json={"name": f"ward-7-{pool}", "type": "process"})
    second = deploy(other, settings)
    assert not set(first) & set(second)
    nightly_of_theirs = client.read_deployment_by_name("pipeline/ward-7-nightly")
    assert nightly_of_theirs.parameters["gpu_deployment"] == "stage/ward-7-gpu"
    run = client.create_flow_run_from_deployment(
        client.read_deployment_by_name("stage/ward-7-gpu").id, parameters={"name": "train"}
    )
    assert (run.work_pool_name, run.tags) == ("ward-7-gpu", ["project:ward-7"])
    shutil.copytree(other.root / "infra", tmp_path / "machine-2" / "infra")
    assert deploy(Project(tmp_path / "machine-2"), settings) == second, "the name is one on all machines"
    watch_for_silence(client, second)
    monkeypatch.delenv("TUNEGATE_PROJECT")
    watch_for_silence(client, first)
    names = [f"tunegate{name}: a run without a heartbeat has crashed" for name in ("", " ward-7")]
    assert [len(client.read_automations_by_name(name)) for name in names] == [1, 1]


def test_a_stage_of_nightly_goes_before_one_of_an_experiment_that_came_first(client, project):
    deploy(project, settings_of(project))
    for deployment in ("stage/later", "stage/gpu", "trial/later"):
        parameters = {"name": "train"} if deployment != "trial/later" else {"sweep": "学习率", "number": 0}
        found = client.read_deployment_by_name(deployment)
        client.create_flow_run_from_deployment(found.id, parameters=parameters, name=f"先 {deployment}")
        time.sleep(0.01)
    asked = {"work_queue_names": ["gpu", "later"], "limit": 10}
    waiting = client.request("POST", "/work_pools/gpu/get_scheduled_flow_runs", json=asked).json()
    names = [one["flow_run"]["name"] for one in waiting if one["flow_run"]["name"].startswith("先")]
    # One at a time of a queue: trial/later waits behind stage/later.
    assert names[:2] == ["先 stage/gpu", "先 stage/later"]


def test_with_cards_queues_take_several_runs_and_a_persons_limit_stays(client, project):
    def limits():
        queues = {"nightly": "cpu", "experiment": "cpu", "gpu": "gpu", "later": "gpu", "promote": "release"}
        return [client.read_work_queue_by_name(name, work_pool_name=pool).concurrency_limit
                for name, pool in queues.items()]  # fmt: skip

    without = settings_of(project)
    deploy(project, without)
    assert limits() == [1, 1, 1, 1, 1]
    cards = settings_of(project, cards=("  gpus: 0", "  gpus: 2"))
    deploy(project, cards)
    assert limits() == [10, 10, None, None, 1]
    queue = client.read_work_queue_by_name("nightly", work_pool_name="cpu")
    client.update_work_queue(queue.id, concurrency_limit=3)
    deploy(project, cards)
    assert limits() == [3, 10, None, None, 1]
    # No worker of ours is there; without the queue's limit as many as a pool of another kind takes.
    assert workers_of("stage/gpu") == 0
    for name in ("gpu-甲", "gpu-甲~2"):
        client.send_worker_heartbeat("gpu", name, heartbeat_interval_seconds=10)
    assert workers_of("stage/gpu") == 2
    client.update_work_queue(queue.id, concurrency_limit=1)
    deploy(project, without)
    assert limits() == [1, 1, 1, 1, 1]
    assert workers_of("stage/gpu") == 1
    assert workers_of("stage/nowhere") == 0


def given(client, deployment, *states, worker=None, pid=None):
    """A run of a deployment that went through these states, as a worker would have left it."""
    found = client.read_deployment_by_name(deployment)
    run = client.create_flow_run_from_deployment(found.id, parameters={"name": "train"})
    if worker:
        client.update_flow_run_labels(run.id, {WORKER: worker})
    if pid:
        client.update_flow_run(run.id, infrastructure_pid=str(pid))
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    return run.id


SLEEP = "import time; time.sleep(120)"


@contextmanager
def process_of(run_id, folder, *words):
    """A process that was started with a run's id in its environment."""
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": str(run_id)}
    process = subprocess.Popen([sys.executable, *words], env=environment, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_only_runs_of_this_host_without_a_process_are_ended(client, project, said, tmp_path, monkeypatch):
    ids = deploy(project, settings_of(project))
    runs = {
        "killed": given(client, "stage/gpu", Running(), worker=HERE, pid=os.getpid()),  # a pid that is another's now
        "elsewhere": given(client, "stage/gpu", Running(), worker=ELSEWHERE, pid=1),
        "alive": given(client, "stage/gpu", Running(), worker=HERE),
        "child only": given(client, "stage/gpu", Running(), worker=HERE),
        "cancelling": given(client, "stage/gpu", Running(), Cancelling(), worker=HERE, pid=1),
        "dropped": given(client, "stage/gpu", Pending()),
        "waits": given(client, "stage/gpu"),
    }
    before = {"killed": "Running", "elsewhere": "Running", "alive": "Running", "child only": "Running",
              "cancelling": "Cancelling", "dropped": "Pending", "waits": "Scheduled"}  # fmt: skip

    def states():
        return {name: client.read_flow_run(run_id).state.name for name, run_id in runs.items()}

    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").write_text("")
    (tmp_path / "prefect" / "engine.py").write_text("import time; time.sleep(120)")
    engine = ("-m", "prefect.engine")
    with process_of(runs["alive"], tmp_path, *engine), process_of(runs["child only"], tmp_path, "-c", SLEEP, "dvc"):
        sweep(client, [HERE], ids)
        assert states() == before, "a run that has just changed is left alone"
        sweep(client, [HERE], ids, settled=timedelta(0))
    ended = {"killed": "Crashed", "child only": "Crashed", "cancelling": "Cancelled"}
    assert states() == before | ended
    monkeypatch.setattr("flows.orphans.DROPPED", timedelta(0))
    sweep(client, [HERE], [])
    assert states() == before | ended, "no deployment of ours"
    sweep(client, [HERE], ids)
    assert states() == before | ended | {"dropped": "Crashed"}
    assert len({line for line in said.messages if "its place in queue gpu is free" in line}) == 4


def test_of_missed_starts_the_last_is_left(client, project, said):
    ids = deploy(project, settings_of(project, on=("active: false", "active: true")))
    found = client.read_deployment_by_name("reconcile/reconcile")
    now = datetime.now(UTC)
    window = {"start_time": now - timedelta(minutes=30), "end_time": now + timedelta(minutes=30), "min_runs": 12}
    client.resume_deployment(found.id)
    client.request("POST", f"/deployments/{found.id}/schedule", json={
        key: value.isoformat() if isinstance(value, datetime) else value for key, value in window.items()
    })  # fmt: skip
    asked = client.create_flow_run_from_deployment(found.id)
    sweep(client, [HERE], ids)
    its = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
    runs = [run for run in client.read_flow_runs(flow_run_filter=its) if run.id != asked.id]
    cut = now - timedelta(minutes=1)
    late = sorted((run for run in runs if run.expected_start_time < cut), key=lambda run: run.expected_start_time)
    assert len(late) >= 5
    assert {run.state.name for run in late[:-1]} == {"Cancelled"}
    assert {run.state.name for run in [late[-1], *(run for run in runs if run not in late)]} == {"Scheduled"}
    assert client.read_flow_run(asked.id).state.name == "Scheduled", "asked for by a person"
    assert f"{len(late) - 1} starts of queue reconcile were missed" in said.text


def test_a_run_whose_heartbeats_stop_is_crashed_and_one_that_goes_on_is_not(client, project):
    ids = deploy(project, settings_of(project))
    watch_for_silence(client, ids, timedelta(seconds=10))
    silent, lives = (given(client, "stage/gpu", Running(), worker=ELSEWHERE) for _ in range(2))
    deployment = client.read_deployment_by_name("stage/gpu")
    deadline = time.monotonic() + 60
    _heartbeat(client, silent, deployment.id)
    while client.read_flow_run(silent).state.name != "Crashed":
        assert time.monotonic() < deadline
        _heartbeat(client, lives, deployment.id)
        time.sleep(2)
    assert "no heartbeat for 10 s" in client.read_flow_run(silent).state.message
    assert client.read_flow_run(lives).state.name == "Running"
    (before,) = client.read_automations_by_name("tunegate: a run without a heartbeat has crashed")
    watch_for_silence(client, ids)
    (after,) = client.read_automations_by_name("tunegate: a run without a heartbeat has crashed")
    assert (before.id, after.trigger.within) == (after.id, timedelta(minutes=15))


@contextmanager
def robot():
    """Who is told: an address, and the texts that came there."""
    said: list[str] = []

    class Robot(BaseHTTPRequestHandler):
        def do_POST(self):
            said.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Robot) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/send?key=secret", said
        found.shutdown()


def test_people_are_told_what_failed_and_what_the_gate_refused_and_nothing_of_others(client, project, monkeypatch):
    ids = deploy(project, settings_of(project))
    with robot() as (address, said):
        have_notices(client, ids, ["cpu", "gpu", "release"])
        assert client.read_automations_by_name("tunegate: a run failed") == [], "nobody is named"
        monkeypatch.setenv("TUNEGATE_NOTIFY_URL", address)
        with temporary_settings({PREFECT_API_URL: str(client.api_url)}):
            have_notices(client, ids, ["cpu", "gpu", "release"])
        given(client, "stage/gpu", Running(), Failed(message="TransientError: 磁盘满了"))
        given(client, "pipeline/nightly", Running(), Failed(name=GATE_FAILED, message="GateFailedError: 未通过"))
        other = client.create_flow_run(other_flow)
        client.set_flow_run_state(other.id, Failed(message="别人的"), force=True)
        deadline = time.monotonic() + 30
        while len(said) < 2:
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        time.sleep(1)
    failed, refused = sorted(said, key=lambda text: "未通过" in text)
    assert failed.startswith("[tunegate] failed: ")
    assert "磁盘满了" in failed
    assert "None" not in failed, "a server that knows no address of its UI names none"
    assert refused.startswith("[tunegate] not passed by the gate: ")
    assert len(said) == 2


def _heartbeat(client, run_id, deployment_id) -> None:
    """What a run's process sends."""
    event = {
        "id": str(uuid4()), "event": HEARTBEAT, "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.name": "stage"},
        "related": [{"prefect.resource.id": f"prefect.deployment.{deployment_id}",
                     "prefect.resource.role": "deployment"}],
        "payload": {},
    }  # fmt: skip
    client.request("POST", "/events", json=[event])


def test_a_worker_of_this_name_on_another_machine_is_heard(client, server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    monkeypatch.setattr("flows.workers._listen", lambda: None)
    client.send_worker_heartbeat("cpu", worker_name("cpu"), heartbeat_interval_seconds=10)
    refuse_twins(["cpu", "gpu"])  # heard of, and silent since: it has ended

    def listen() -> None:
        client.send_worker_heartbeat("cpu", worker_name("cpu"), heartbeat_interval_seconds=10)

    monkeypatch.setattr("flows.workers._listen", listen)
    with pytest.raises(ConfigError, match="on another machine of this name"):
        refuse_twins(["cpu", "gpu"])


@pytest.mark.parametrize(("home", "used"), [("own", True), ("another", False)])
def test_a_run_uses_the_server_of_its_own_home_only(server, project, monkeypatch, caplog, home, used):
    caplog.set_level("INFO")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(server.home if home == "own" else project.root))
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(server.port))
    use_own_server(project)
    assert (os.environ.pop("PREFECT_API_URL", None) == server.url) is used
    assert ("shows this run" if used else "is not this project's") in caplog.messages[-1]
