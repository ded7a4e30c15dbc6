"""A small project whose stages are shell commands: what the flows see of a stage, without a stage's work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.project import Project
from tasks.stages.table import Stage

ROOT = Path(__file__).parents[2]
KINDS = ("ConfigError", "DataContractError", "GateFailedError", "MissingToolError", "TransientError")

#: What `tunegate stage` does when its function raises: keep the error, exit with its code.
FAIL = """
import sys
from tasks.core import errors
from tasks.stages.failures import record_failure
from tasks.core.project import Project
error = getattr(errors, sys.argv[2])("第三行不是 JSON", "mend line 3")
record_failure(Project.here(), sys.argv[1], error)
sys.exit(error.exit_code)
"""
MADE = (
    "mkdir -p data/made && echo 12:00:00 INFO 正在整理数据 && echo '{\"rows\": 3}' && cp params.yaml data/made/rows.txt"
)
STAGES = {
    "prepare": (MADE.replace("data/made", "data/prepared"), "data/prepared"),
    "validate": (MADE.replace("data/made", "data/reports/validation"), "data/reports/validation"),
    "train": (MADE.replace("data/made", "data/models/adapter"), "data/models/adapter"),
    "killed": ("echo half way; kill -9 $$", "data/killed"),
    **{kind: (f"{sys.executable} fail.py {kind} {kind}", f"data/{kind}") for kind in KINDS},
    # A stage of the real table that refuses: for runs of the flow `stage`, which looks names up there.
    "gate": (f"{sys.executable} fail.py gate GateFailedError", "data/reports/gate"),
}


@pytest.fixture(autouse=True)
def events_of_this_test_alone():
    """End Prefect's thread for events with the test: its next one goes to the server that its next event is for.

    Prefect (3.8) keeps one thread a process, connected to the server of the first event. After that server has ended,
    each event for another one waits for it for seconds, and who drains them at the end waits for all: minutes.
    """
    yield
    if worker := sys.modules.get("prefect.events.worker"):
        waiting = worker.EventsWorker.drain_all(timeout=60)[1]
        assert not waiting, "events of this test are still on their way"


@pytest.fixture
def tiny_project(tmp_path, monkeypatch) -> Project:
    root = tmp_path / "项目"
    root.mkdir()
    stages = "".join(
        f"  {name}:\n    cmd: |-\n      {command}\n    deps: [params.yaml]\n    outs: [{out}]\n"
        for name, (command, out) in STAGES.items()
    )
    (root / "dvc.yaml").write_text(f"stages:\n{stages}", encoding="utf-8")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (root / "fail.py").write_text(FAIL, encoding="utf-8")
    for name in ("flows", "tasks", "infra"):
        (root / name).symlink_to(ROOT / name)
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNEGATE_ROOT", str(root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=root, check=True)
    return Project(root)


@pytest.fixture
def stage_called():
    def make(name: str) -> Stage:
        return Stage(name=name, function="none:none", output=STAGES[name][1])

    return make
