"""Stages of one run at the same time: real DVC, Prefect and leases; the cards are a stand-in's, the stages short."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from prefect import flow

from flows import all_stages
from flows.all_stages import run_stages
from flows.clock import RunClock
from flows.environment import PREFECT
from flows.limits import Allowance
from flows.repo import read_lock
from flows.run import Run
from tasks.core.errors import DataContractError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.stages.table import STAGES
from tests.unit.stand_in_nvidia_smi import stand_in_gpus

__all__ = ["stand_in_gpus"]

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HERE = ("prepare", "validate", "train", "evaluate@base")
SHORT = tuple(stage for stage in STAGES if stage.name in HERE)

#: What a stage does here: leases its cards as the real one does, says when its body began and ended. Two that are told
#: to meet end when both have begun; one that is alone goes on after a while.
STAGE = """
import json, sys, time
from pathlib import Path
from tasks.core.errors import DataContractError
from tasks.core.gpus import working_on
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.stages.failures import record_failure
from tasks.stages.runner import work_gpus
from tasks.stages.table import find_stages

(stage,) = find_stages(sys.argv[1])
root, out = Path.cwd(), Path(stage.output)
asked = json.loads(Path("asked.json").read_text("utf-8"))
with working_on(*work_gpus(stage, load_settings(root / "params.yaml")), what=stage.name):
    began = time.time()
    Path(f"began-{stage.name}").touch()
    until = time.monotonic() + asked["meet_s"]
    others = [Path(f"began-{name}") for name in ("train", "evaluate@base")]
    while stage.gpu and not all(other.exists() for other in others) and time.monotonic() < until:
        time.sleep(0.05)
    if asked.get("fails") == stage.name:
        record_failure(Project(root), stage.name, DataContractError("第三行不是 JSON", "mend line 3"))
        sys.exit(3)
    time.sleep(asked.get(stage.name, 0.5))
    out.mkdir(parents=True)
    (out / "when.json").write_text(json.dumps([began, time.time()]), "utf-8")
"""


@pytest.fixture(scope="module")
def prefect_server():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(PREFECT["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])):
        yield


@pytest.fixture
def project(tmp_path, monkeypatch, prefect_server) -> Project:
    """The first stages of the table in little."""
    root = tmp_path / "项目"
    root.mkdir()
    (root / "stage.py").write_text(STAGE, "utf-8")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/行.jsonl").write_text("{}\n", "utf-8")
    command = f"{sys.executable} stage.py"
    stages = {
        stage.name: {"cmd": f"{command} {stage.name}", "deps": list(stage.inputs.values()), "outs": [stage.output]}
        for stage in SHORT
    }
    base = stages.pop("evaluate@base")
    each = {"foreach": {"base": {}}, "do": base}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {**stages, "evaluate": each}}), "utf-8")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # leases of this test alone
    monkeypatch.setenv("TUNEGATE_ROOT", str(root))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setattr(all_stages, "STAGES", SHORT)
    monkeypatch.setattr(all_stages, "forked_servers", lambda *_: nullcontext())  # no model is served here
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=root, check=True)
    return Project(root)


@flow(persist_result=False)
def stages_of_a_run(root: str) -> dict:
    project = Project(Path(root))
    settings = load_settings(project.root / "params.yaml")
    clock = RunClock(project)
    run_stages(Run(project, settings), None, clock, Allowance.begin(settings.limits))
    return clock.close()


def asked(project: Project, **words) -> None:
    (project.root / "asked.json").write_text(json.dumps({"meet_s": 0.2, **words}), "utf-8")


def spans(project: Project) -> dict[str, list[float]]:
    """When each body began and ended."""
    return {stage.name: json.loads((project.root / stage.output / "when.json").read_text("utf-8")) for stage in SHORT}


def overlap_s(found: dict[str, list[float]], one: str, other: str) -> float:
    return min(found[one][1], found[other][1]) - max(found[one][0], found[other][0])


def recorded(project: Project) -> set[str]:
    return set(read_lock(project))


def test_two_cards_train_and_evaluate_the_base_model_at_the_same_time(project, stand_in_gpus):
    stand_in_gpus(70, 70)
    asked(project, meet_s=60)
    times = stages_of_a_run(str(project.root))
    assert overlap_s(spans(project), "train", "evaluate@base") >= 0.4
    assert recorded(project) == set(HERE), "DVC has recorded both, whichever ended while the other's was written"
    assert set(times["seconds"]) >= set(HERE)


@pytest.mark.parametrize("claimed", [None, 2], ids=["one card", "one card, planted: taken for two"])
def test_one_card_works_on_one_stage_after_the_other(project, stand_in_gpus, monkeypatch, claimed):
    """Were the cards miscounted, the lease of the one would still keep the second stage waiting."""
    stand_in_gpus(70)
    asked(project)
    if claimed:
        monkeypatch.setattr(all_stages, "gpu_places", lambda *_: claimed)
    stages_of_a_run(str(project.root))
    found = spans(project)
    assert overlap_s(found, "train", "evaluate@base") <= 0
    if not claimed:
        begun = [begin for begin, _ in (found[name] for name in HERE)]
        assert begun == sorted(begun), "the table's order"
        ends = [end for _, end in (found[name] for name in HERE)]
        assert all(end <= begin for end, begin in zip(ends, begun[1:], strict=False))


def test_where_one_fails_the_other_goes_on_to_its_end_and_is_kept(project, stand_in_gpus):
    stand_in_gpus(70, 70)
    asked(project, meet_s=60, fails="train", **{"evaluate@base": 2.0})
    with pytest.raises(DataContractError, match="第三行不是 JSON"):
        stages_of_a_run(str(project.root))
    assert recorded(project) == {"prepare", "validate", "evaluate@base"}


def test_a_run_that_is_interrupted_leaves_none_of_them(project, stand_in_gpus):
    stand_in_gpus(70, 70)
    asked(project, meet_s=60, train=600.0, **{"evaluate@base": 600.0})

    def interrupt():
        while not all((project.root / f"began-{name}").exists() for name in ("train", "evaluate@base")):
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    # A shell that runs the tests in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            stages_of_a_run(str(project.root))
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_stage(path, project)]
    assert left == []
    assert recorded(project) == {"prepare", "validate"}


def _is_stage(path: Path, project: Project) -> bool:
    try:
        ours = Path(os.readlink(path.with_name("cwd"))) == project.root
        return ours and b"stage.py" in path.read_bytes()
    except OSError:
        return False
