"""Programs and environments: absent, unfinished, of another lock, damaged."""

import json
import os

import pytest

from tasks.core.errors import MissingToolError
from tasks.machine.tools import check_environments, check_tools, load_bootstrap


@pytest.fixture
def finished(project):
    """Both environments as bootstrap.py leaves them."""
    bootstrap = load_bootstrap(project)
    for name, folder in bootstrap.FOLDERS.items():
        python = project.root / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch(mode=0o755)
        stamp = bootstrap.stamp_of(name, bootstrap.has_gpu())
        (project.root / folder / bootstrap.STAMP).write_text(json.dumps(stamp))
    return project


def outcomes(checks):
    return [check.outcome for check in checks]


def test_the_tools_of_this_machine():
    checks = {check.name: check for check in check_tools()}
    assert set(checks) == {"Python", "git", "g++"}
    assert checks["Python"].outcome == "ok"


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = {check.name: check for check in check_tools()}
    assert checks["g++"].outcome == "failed"
    assert "apt-get install g++" in checks["g++"].todo


def test_a_compiler_that_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "g++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {check.name: check for check in check_tools()}["g++"].found.startswith("does not start")


def test_finished_environments(finished):
    assert outcomes(check_environments(finished)) == ["ok", "ok"]


def test_no_environments(project):
    checks = check_environments(project)
    assert outcomes(checks) == ["failed", "failed"]
    assert {check.todo for check in checks} == {"make setup"}


def test_a_changed_lock_is_seen(finished):
    lock = finished.root / "infra" / "environments" / "pipeline.lock"
    lock.write_text(lock.read_text() + "newcomer==1.0\n")
    pipeline, serve = check_environments(finished)
    assert (pipeline.outcome, serve.outcome) == ("failed", "ok")
    assert "another lock" in pipeline.found


def test_an_unfinished_and_a_damaged_environment(finished):
    (finished.root / ".venv" / "tunegate-stamp.json").unlink()
    (finished.root / ".venv-serve" / "tunegate-stamp.json").write_text("{half")
    assert [check.found for check in check_environments(finished)] == [
        "never finished",
        "tunegate-stamp.json is damaged",
    ]


def test_a_moved_clone_is_seen(finished, tmp_path):
    from tasks.core.project import Project

    moved = tmp_path / "moved"
    os.rename(finished.root, moved)
    assert "another folder" in check_environments(Project(moved))[0].found


def test_a_serving_interpreter_of_the_user_s_own(finished, monkeypatch):
    monkeypatch.setenv("TUNEGATE_SERVE_PYTHON", str(finished.root / ".venv-serve" / "bin" / "python"))
    assert check_environments(finished)[1].outcome == "ok"
    monkeypatch.setenv("TUNEGATE_SERVE_PYTHON", "/nowhere/python")
    assert check_environments(finished)[1].outcome == "failed"


def test_no_bootstrap(project):
    (project.root / "infra" / "environments" / "bootstrap.py").unlink()
    with pytest.raises(MissingToolError, match="bootstrap"):
        check_environments(project)
