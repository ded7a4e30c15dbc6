"""A trial's checkout, by real git and DVC: what is in the working tree, what git ignores and stages read, no more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.sweep.begin import begin
from tasks.sweep.checkout import environment_of, prepare_checkout
from tasks.sweep.space import parse_space, plain_space
from tasks.sweep.store import Plan, Sweep

ROOT = Path(__file__).parents[3]
METRIC = "domain_bits_per_byte"


def plan(*settings: str) -> Plan:
    return Plan(plain_space(parse_space(settings)), "grid", None, 0, "awq", METRIC)


@pytest.fixture
def project(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    return Project(tmp_path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_checkout_is_the_working_tree_and_shares_cache_models_and_keys(project, monkeypatch):
    root, big = project.root, "数" * 500_000
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    write(root / ".gitignore", ".tunegate/\nserve.installed\n__pycache__/\n/out\n/weights\n")
    write(root / "infra/environments/serve.installed", "vllm")
    write(root / "tasks/代码.py", "1")
    write(root / "out/old.txt", "1")
    write(root / "data/raw/大.jsonl", big)
    write(root / "data/raw/only.bin", "DVC 知道")
    write(root / "weights/model.safetensors", "1")
    subprocess.run(["dvc", "add", "-q", "data/raw/only.bin"], cwd=root, check=True)
    sweep = begin(project, "一", plan("train.lora.rank=8", "base_model.source=local", "base_model.id=weights"))
    write(root / "tasks/代码.py", "2")
    sweep.ask(1, {"train.lora.rank": 8})
    trial = prepare_checkout(sweep, 1)
    assert (trial.root / "tasks/代码.py").read_text("utf-8") == "1"
    assert (trial.root / "infra/environments/serve.installed").read_text("utf-8") == "vllm"
    assert (trial.root / "data/raw/only.bin").read_text("utf-8") == "DVC 知道"
    assert (trial.root / "data/raw/大.jsonl").samefile(sweep.snapshot / "data/raw/大.jsonl")
    assert not (trial.root / "data/raw/大.jsonl").samefile(root / "data/raw/大.jsonl")
    assert (trial.root / "weights").resolve() == root / "weights"
    assert not (trial.root / "out").exists()
    assert "    rank: 8\n" in (trial.root / "params.yaml").read_text("utf-8")
    cache = subprocess.run(["dvc", "cache", "dir"], cwd=trial.root, capture_output=True, text=True, check=True)
    assert Path(cache.stdout.strip()).samefile(root / ".dvc" / "cache")
    assert {name for name in os.listdir(trial.state) if (trial.state / name).is_symlink()} >= {"models", "signing"}
    # What a killed trial left is gone on with; a folder of other settings is not.
    write(trial.state / "scratch/checkpoint", "1")
    assert (prepare_checkout(sweep, 1).state / "scratch/checkpoint").is_file()
    sweep.ask(1, {"train.lora.rank": 4})
    assert not (prepare_checkout(sweep, 1).state / "scratch/checkpoint").exists()


def test_nothing_is_begun_where_something_is_wrong(project):
    with pytest.raises(ConfigError, match=r"train\.lora\.rnk: params\.yaml has no such key; train\.lora\.rank\?"):
        begin(project, "一", plan("train.lora.rnk=8"))
    with pytest.raises(ConfigError, match="these are the settings as they are"):
        begin(project, "一", plan("train.lora.rank=16"))
    with pytest.raises(ConfigError, match="is no git checkout"):
        begin(project, "一", plan("train.lora.rank=8"))
    assert not (project.state / "sweeps" / "一" / "sweep.json").exists()


def test_what_a_trial_starts_runs_the_trials_code_and_nothing_of_it_stays(project, monkeypatch):
    monkeypatch.delenv("TUNEGATE_ROOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", "earlier")
    write(project.root / "trial/tasks/__init__.py", "WHOSE = '试验'\n")
    sweep, trial = Sweep(project, "一", plan("train.lora.rank=8")), Project(project.root / "trial")
    command = [sys.executable, "-c", "import tasks; print(tasks.WHOSE)"]
    environment = environment_of(sweep, trial)
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", env=environment).stdout
    assert environment["TUNEGATE_ROOT"] == str(trial.root)
    assert environment["MLFLOW_TRACKING_URI"].endswith(".tunegate/mlflow.db")
    assert said == "试验\n"
    assert os.environ["PYTHONPATH"] == "earlier"
    assert "TUNEGATE_ROOT" not in os.environ
