"""Two clones in two folders with nothing in common but a DVC remote, a worker each, one Prefect server."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orphans import sweep
from flows.outcome import error_of
from flows.trigger import require_commit
from flows.worktree import FOLDER
from tasks.core.errors import ConfigError, GateFailedError
from tasks.core.files import read_json
from tasks.core.project import Project
from tasks.proof.signers import make_key
from tasks.release.registry import CHECKOUT, PREFIX, Registry
from tasks.stages.table import STAGES
from tests.flows.clones import REMOTE, clone, contents, environment_of, git_environment, make_origin, run
from tests.flows.servers import PREFECT, PrefectServer

pytestmark = pytest.mark.slow

STEPS = {"train": {"max_steps": 7}}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """(origin, the CPU machine's clone, the GPU machine's, the remote, the server), with the deployments."""
    for name, value in git_environment().items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    make_key(tmp_path / "release.pem")
    monkeypatch.setenv("TUNEGATE_RELEASE_KEY", str(tmp_path / "release.pem"))
    remote = tmp_path / "remote"
    origin = make_origin(tmp_path / "origin", REMOTE)
    cpu, gpu = (clone(origin, tmp_path / name / "项目", remote) for name in ("甲", "乙"))
    server = PrefectServer(tmp_path / "prefect")
    monkeypatch.setenv("PREFECT_HOME", str(server.home))
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    server.start()
    deploy = [sys.executable, "-m", "flows.workers", "--deploy-only"]
    subprocess.run(deploy, cwd=cpu.root, env=environment_of(cpu), check=True, capture_output=True)
    with temporary_settings({PREFECT_API_URL: server.url}):
        yield origin, cpu, gpu, remote
    server.kill(signal.SIGTERM)


@contextmanager
def worker(pool: str, project: Project):
    """The machine's worker of a pool; all its processes are killed on leaving."""
    command = [PREFECT, "worker", "start", "--pool", pool, "--name", f"{pool}-{project.root.parent.name}",
               "--type", "process"]  # fmt: skip
    with (project.root.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=project.root, env=environment_of(project), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        yield
    finally:
        kill_machine(project)
        process.wait(30)


def kill_machine(project: Project) -> None:
    """Kill every process of a machine at once: what a power cut does."""
    for _ in range(3):
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if str(project.root).encode() in environment and int(path.name) != os.getpid():
                try:
                    os.kill(int(path.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue


def start(client, **parameters):
    found = client.read_deployment_by_name("pipeline/nightly")
    return client.create_flow_run_from_deployment(
        found.id, parameters={"gpu_deployment": "stage/gpu", "release_deployment": None, **parameters}
    )


def until(condition, said: Path, timeout_s: float = 120, every_s: float = 0.2):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, said.read_text("utf-8")[-6000:]
        time.sleep(every_s)
    return found


def recorded(folder: Path, stage: str) -> Path | None:
    """The dvc.lock of a run's folder on a machine, once a stage is in it."""
    for path in folder.glob("*/dvc.lock"):
        if f"\n  {stage}:\n" in path.read_text("utf-8"):
            return path
    return None


def test_two_machines_make_what_one_makes_through_a_power_cut_and_an_edited_checkout(site, tmp_path, monkeypatch):
    origin, cpu, gpu, remote = site
    commit = run(cpu.root, "git", "rev-parse", "HEAD")
    log, gpu_log = cpu.root.parent / "worker.log", gpu.root.parent / "worker.log"
    with worker("cpu", cpu), get_client(sync_client=True) as client:
        with worker("gpu", gpu):
            asked = start(client, rev="main", params=STEPS)
            lock = until(lambda: recorded(gpu.state / FOLDER, "train"), log, every_s=0.01)
        # Killed between the end of the stage and its push: the outputs are on no other machine.
        assert "adapter" in lock.read_text("utf-8")
        assert not (remote / "runs").exists()
        # Meanwhile somebody prepares the next run on both machines.
        for project in (cpu, gpu):
            (project.root / "params.yaml").write_text("下一次", "utf-8")
            (project.root / "stage.py").write_text("raise SystemExit('改坏了')", "utf-8")
        sweep(client, ["gpu-乙"], [], settled=timedelta(0))
        with worker("gpu", gpu):
            until(lambda: client.read_flow_run(asked.id).state.is_final(), log, 240)
        ended = client.read_flow_run(asked.id)
        assert isinstance(error_of(ended.state), GateFailedError), (ended.state.message, log.read_text()[-5000:])
        notes = client.read_artifacts(limit=50)
    # The commit is on the run and on the version, and a run of another commit is no proof of this one.
    assert f"commit:{commit}" in ended.tags
    require_commit(asked.id, commit)
    with pytest.raises(ConfigError, match=f"is of commit {commit}, and not of {'0' * 40}"):
        require_commit(asked.id, "0" * 40)
    (folder,) = [path.parent for path in (cpu.state / FOLDER).glob("*/dvc.lock")]
    there = lock.parent
    assert folder.name == there.name, "the same run, on either machine"
    registry = Registry(cpu, "tunegate-nuclear-emergency")
    version = registry.version("1")
    # One dvc.lock, gathered from both machines, goes with the version.
    kept = registry.files(version, CHECKOUT, tmp_path / "evidence")
    assert read_json(kept / "checkout.json")["commit"] == commit
    assert list(yaml.safe_load((kept / "dvc.lock").read_text("utf-8"))["stages"]) == [stage.name for stage in STAGES]
    assert version.tags[f"{PREFIX}git_commit"].startswith(commit)
    assert FOLDER not in version.source
    # One checkout, one command.
    one = clone(origin, tmp_path / "一台" / "项目", remote)
    (one.root / "params.yaml").write_bytes((folder / "params.yaml").read_bytes())
    subprocess.run(["dvc", "repro", "--quiet"], cwd=one.root, env=environment_of(one), check=True)
    alone, together = contents(one.root), contents(folder)
    assert sorted(alone) == sorted(together)
    assert alone == together
    assert len({name.split("/读了")[0] for name in alone if "读了" in name}) == 11
    # The GPU machine has what its stages read and made, and nothing else.
    gpu_has = {path.parent.relative_to(there).as_posix() for path in there.glob("data/**/manifest.json")}
    assert gpu_has == {"data/prepared", "data/reports/validation", "data/models/adapter", "data/models/merged",
                       "data/models/awq"}  # fmt: skip
    assert {note.key for note in notes if note.type == "hand-over"} == {"hand-over-train", "hand-over-quantize"}
    assert "train: outputs sent to hand: " in gpu_log.read_text("utf-8")
    # The rules that training fixed on the other machine are in the record here.
    assert list((cpu.state / "signing/rules/tg-1").glob("*.dsse.json"))
