"""`tunegate run` of a commit: refused before anything is started where it cannot be; whole in a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import given_settings
from tasks.cli.main import cli
from tasks.core.errors import ConfigError
from tasks.core.guard import guarded
from tasks.proof.signers import make_key
from tasks.release.registry import PREFIX, Registry
from tasks.stages.table import STAGES
from tests.flows.clones import clone, environment_of, git_environment, make_origin, run
from tests.flows.test_worktree import checkout, head

__all__ = ["checkout"]

TUNEGATE = [sys.executable, "-c", "from tasks.cli.main import main; main()"]


@pytest.fixture
def said(checkout, monkeypatch, capsys):
    """Call the command in the checkout; returns exit code and what it said. The environment is put back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["TUNEGATE_ROOT"] = str(checkout.root)

    def call(*words: str) -> tuple[int, str]:
        return guarded(lambda: cli(["run", *words], standalone_mode=False)), capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--rev", "no-such"], "has no commit no-such"), (["--rev", "--upload-pack=x"], "has no commit"),
     (["--rev", "main", "--profile", "no-such"], "has no infra/profiles/no-such.yaml"),
     (["--set", "train.max_stesp=7"], "train.max_stesp"), (["--set", "train.max_steps=many"], "train.max_steps"),
     (["--set", "train.max_steps"], "is not KEY=VALUE"),
     (["--set", "train=1", "--set", "train.seed=2"], "a value already"),
     (["--set", "train.max_steps=[1"], "is no YAML"),
     (["--params", "{root}/params.yaml", "--rev", "main"], "--params writes params.yaml")],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_a_server_is_started(said, checkout, words, reason):
    code, text = said(*(word.format(root=checkout.root) for word in words))
    assert code == 2
    assert reason in text
    assert "next: " in text
    assert not (checkout.state / "prefect/prefect.db").exists()


@pytest.mark.parametrize("words", [["--profile", "verify-7b"], ["--set", "train.max_steps=7"]])
def test_other_settings_for_code_that_no_commit_has_are_refused(said, checkout, words):
    (checkout.root / "tasks/code.py").write_text("WORD = '改了'\n", "utf-8")
    code, text = said(*words)
    assert (code, "has changes that no commit has: tasks/code.py" in text) == (2, True)


def test_settings_are_given_as_params_yaml_names_them():
    given = (
        "train.max_steps=20",
        "train.learning_rate=1e-4",
        "train.lora.target_modules=[q_proj]",
        "hand_over.remote=null",
    )
    assert given_settings(given) == {
        "train": {"max_steps": 20, "learning_rate": 1e-4, "lora": {"target_modules": ["q_proj"]}},
        "hand_over": {"remote": None},
    }
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        given_settings(("=3",))


@pytest.mark.slow
def test_a_run_of_a_commit_beside_a_checkout_that_is_worked_on(tmp_path, monkeypatch):
    for name, value in git_environment().items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_ROOT", "PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    make_key(tmp_path / "release.pem")
    monkeypatch.setenv("TUNEGATE_RELEASE_KEY", str(tmp_path / "release.pem"))
    # No model is served here: a CUDA build's process would be asked for by each evaluation itself.
    serves = tmp_path / "stand-in-python"
    serves.write_text('#!/bin/sh\necho \'{"vllm": true, "cuda": "12.4"}\'\n', "utf-8")
    serves.chmod(0o755)
    monkeypatch.setenv("TUNEGATE_SERVE_PYTHON", str(serves))
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "1")  # nobody's: a server of this run alone
    origin = make_origin(tmp_path / "origin", "null")
    passes = (origin / "stage.py").read_text("utf-8").replace('"verdict": "FAIL"', '"verdict": "PASS"')
    (origin / "stage.py").write_text(passes, "utf-8")
    run(origin, "git", "commit", "--quiet", "-am", "通过")
    project = clone(origin, tmp_path / "项目", tmp_path / "remote")
    commit = head(project)
    (project.root / "stage.py").write_text("raise SystemExit('改坏了')", "utf-8")
    (project.root / "params.yaml").write_text("下一次", "utf-8")
    before = run(project.root, "git", "status", "--porcelain")
    words = ["run", "--rev", "main", "--no-promote", "--json", "--set", "train.max_steps=7",
             "--set", "hand_over.branch=runs", "--set", "hand_over.push_to=origin"]  # fmt: skip
    done = subprocess.run([*TUNEGATE, *words], cwd=project.root, env=environment_of(project), capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    folder = Path(outcome["folder"])
    assert (outcome["commit"], folder.parent) == (commit, project.state / "worktrees")
    assert "left for a person" in outcome["outcome"]
    assert all((folder / stage.output / "manifest.json").is_file() for stage in STAGES)
    assert "max_steps: 7" in (folder / "params.yaml").read_text("utf-8")
    # The branch has what the run recorded, here and at the remote that was named; the version says which commit.
    kept = run(project.root, "git", "rev-parse", outcome["branch"])
    assert run(origin, "git", "rev-parse", outcome["branch"]) == kept
    assert run(project.root, "git", "show", f"{kept}:dvc.lock") == (folder / "dvc.lock").read_text("utf-8").strip()
    tags = Registry(project, "tunegate-nuclear-emergency").version(outcome["version"]).tags
    assert (tags[f"{PREFIX}run_commit"], tags[f"{PREFIX}run_branch"]) == (kept, outcome["branch"])
    assert tags[f"{PREFIX}git_commit"].startswith(commit)
    # Beside it nothing was touched.
    assert run(project.root, "git", "status", "--porcelain") == before
    assert not (project.root / "data/prepared").exists()
