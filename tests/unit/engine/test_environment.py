"""The serving interpreter held to its record."""

import shutil
import sys
from pathlib import Path

import pytest

from tasks.core.errors import MissingToolError
from tasks.core.project import Project
from tasks.engine.environment import load_bootstrap, require_as_recorded

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout whose serving interpreter is the one that runs this test, as `make setup` records it."""
    monkeypatch.setenv("TUNEGATE_SERVE_PYTHON", sys.executable)
    (tmp_path / "infra" / "environments").mkdir(parents=True)
    shutil.copy(ROOT / "infra/environments/bootstrap.py", tmp_path / "infra/environments")
    made = Project(tmp_path)
    load_bootstrap(made).record_installed()
    return made


def record(project: Project) -> Path:
    return project.root / "infra/environments/serve.installed"


def test_the_record_lists_packages_and_no_installers(project):
    lines = record(project).read_text("utf-8").splitlines()
    assert lines == sorted(lines)
    assert any(line.startswith("pydantic==") for line in lines)
    assert not {line.partition("==")[0] for line in lines} & {"pip", "uv", "setuptools", "wheel"}
    require_as_recorded(project)


def test_an_unchanged_record_is_not_written_again(project):
    before = record(project).stat().st_mtime_ns
    load_bootstrap(project).record_installed()
    assert record(project).stat().st_mtime_ns == before


def test_another_version_behind_the_record_is_refused_by_name(project):
    lines = record(project).read_text("utf-8").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("pydantic=="))
    lines[place] = "pydantic==0.0.1"
    record(project).write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises(
        MissingToolError, match=r"pydantic==.* is not recorded; pydantic==0\.0\.1 is recorded"
    ) as refused:
        require_as_recorded(project)
    assert "make setup" in refused.value.hint
    load_bootstrap(project).record_installed()
    require_as_recorded(project)


def test_many_differences_are_counted(project):
    record(project).write_text("vllm==0.32.0\n", "utf-8")
    with pytest.raises(MissingToolError, match=r"and \d+ more"):
        require_as_recorded(project)


def test_no_record_and_no_interpreter(project, monkeypatch):
    monkeypatch.setenv("TUNEGATE_SERVE_PYTHON", "/nowhere/python")
    with pytest.raises(MissingToolError, match="/nowhere/python does not work"):
        require_as_recorded(project)
    record(project).unlink()
    with pytest.raises(MissingToolError, match="does not exist"):
        require_as_recorded(project)
