"""A sweep with real DVC, Prefect, MLflow and git on a project of small stages: stopped, killed, resumed, applied."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.core.project import Project
from tasks.core.tracking import client, experiment_id
from tasks.sweep.checks import stages_up_to
from tests.flows.servers import PrefectServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TUNEGATE = [sys.executable, "-c", "from tasks.cli.main import main; main()"]
KEY = "serve.vllm.max_concurrent_sequences"
#: A stage: notes that it ran, and beside which setting; is held while a file is there; writes what follows from it.
STAGE = f"""
import os, sys, time
from pathlib import Path
import yaml
sys.path.insert(0, {str(ROOT)!r})
from tests.made_reports import samples, write_evaluation

name, out = sys.argv[1], Path(sys.argv[2])
many = yaml.safe_load(Path("params.yaml").read_text("utf-8"))["serve"]["vllm"]["max_concurrent_sequences"]
notes = Path(os.environ["NOTES"])
with (notes / "ran.txt").open("a") as stream:
    stream.write(f"{{name}} {{many}}\\n")
assert Path("code.py").read_text("utf-8") == "版本 = 1\\n"
while name == "evaluate@base" and (notes / f"hold-{{many}}").exists():
    time.sleep(0.1)
if name == "prepare":
    out.mkdir(parents=True)
    (out / "行.txt").write_text("一", "utf-8")
else:
    write_evaluation(out, "base", samples(40, lambda item: 1 / many, many))
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    found = PrefectServer(tmp_path / "prefect").start()
    yield found
    found.kill(signal.SIGTERM)


@pytest.fixture
def project(tmp_path, monkeypatch, server):
    root = tmp_path / "项目"
    root.mkdir()
    (root / "dvc.yaml").write_text(dvc_yaml(), encoding="utf-8")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (root / "stage.py").write_text(STAGE, encoding="utf-8")
    (root / "code.py").write_text("版本 = 1\n", encoding="utf-8")
    (root / ".gitignore").write_text(".tunegate/\n/data\n__pycache__/\n", encoding="utf-8")
    for name in ("flows", "tasks", "infra"):
        (root / name).symlink_to(ROOT / name)
    for name in ("PREFECT_HOME", "MLFLOW_TRACKING_URI", "TUNEGATE_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=root, check=True)
    author = ["-c", "user.name=王工", "-c", "user.email=wang@example.org"]
    subprocess.run(["git", *author, "commit", "-qm", "一"], cwd=root, check=True)
    return Project(root)


def dvc_yaml() -> str:
    """The stages up to the base model's evaluation, by their real names and with what they read."""
    prepare, evaluate = stages_up_to("base")
    return f"""
stages:
  prepare:
    cmd: {sys.executable} stage.py {prepare.name} {prepare.output}
    deps: [stage.py]
    params: [{", ".join(prepare.param_sections)}]
    outs: [{prepare.output}]
  evaluate:
    foreach:
      base: {{}}
    do:
      cmd: {sys.executable} stage.py {evaluate.name} {evaluate.output}
      deps: [stage.py, {prepare.output}]
      params: [{", ".join(evaluate.param_sections)}]
      outs: [{evaluate.output}]
"""


def started(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TUNEGATE, "sweep", *words], cwd=project.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # A shell that runs the tests in the background has SIGINT ignored, and its children inherit that.
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def done(project: Project, *words: str) -> dict:
    ran = subprocess.run(
        [*TUNEGATE, "sweep", *words, "--json"], cwd=project.root, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def ran(tmp_path: Path) -> list[str]:
    return [line.strip() for line in (tmp_path / "ran.txt").read_text("utf-8").splitlines()]


def wait_for(process: subprocess.Popen[str], tmp_path: Path, line: str, times: int = 1) -> None:
    """Wait until a stage has said so often that it runs."""
    deadline = time.monotonic() + 90
    while not (tmp_path / "ran.txt").is_file() or ran(tmp_path).count(line) < times:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, line
        time.sleep(0.1)


def test_a_sweep_is_stopped_killed_gone_on_with_and_applied(project, tmp_path, server):
    held, params = tmp_path / "hold-16", project.root / "params.yaml"
    held.touch()

    # Ctrl-C in the trial.
    process = started(project, "run", "并发", "--hop", "base", "--set", f"{KEY}=16")
    wait_for(process, tmp_path, "evaluate@base 16")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 130, said
    # What was edited since changes nothing in it: stage.py checks its own, and nothing is asked at 31.
    (project.root / "code.py").write_text("版本 = 2\n", encoding="utf-8")
    params.write_text(params.read_text("utf-8").replace("sequences: 32", "sequences: 31"), encoding="utf-8")

    # Killed.
    process = started(project, "run", "并发")
    wait_for(process, tmp_path, "evaluate@base 16", times=2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    held.unlink()
    shown = done(project, "show", "并发")
    assert [line["trial"] for line in shown["trials"]] == [0]
    assert shown["result"] is None

    value = done(project, "run", "并发")
    assert (value["result"]["winner"], value["result"]["heldout"]["shown"]) == (1, True)
    # What both have in common once; what is a trial's own once, but for the stage that was stopped and killed.
    assert sorted(ran(tmp_path)) == [*["evaluate@base 16"] * 3, "evaluate@base 32", "prepare 32"]
    assert not (project.root / "data").exists()
    assert not (project.state / "sweeps" / "并发" / "trials").exists()
    recorded(project)
    shown_in_prefect(server)

    applied = done(project, "apply", "并发")
    assert applied["settings"] == {KEY: 16}
    assert "    max_concurrent_sequences: 16\n" in params.read_text("utf-8")


def recorded(project: Project) -> None:
    """A parent run and one for each trial below it, none of them twice."""
    found = client(project)
    runs = found.search_runs([experiment_id(found, project)])
    parent = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = [run for run in runs if run not in parent]
    assert len(parent) == 1
    assert parent[0].data.metrics["winner"] == 1
    assert parent[0].data.metrics["heldout_difference"] == pytest.approx(-1 / 32, abs=0.01)
    assert sorted(run.data.tags["tunegate.trial"] for run in below) == ["0", "1"]
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent[0].info.run_id}
    assert {run.data.params.get(KEY) for run in below} == {None, "16"}


def shown_in_prefect(server: PrefectServer) -> None:
    """The last trial is a completed run below that of the sweep which was finished."""
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as found:
        runs = {run.name: run for run in found.read_flow_runs() if run.state.is_completed()}
        parent = found.read_task_run(runs["并发 trial 1"].parent_task_run_id)
    assert parent.flow_run_id == runs["sweep 并发"].id
