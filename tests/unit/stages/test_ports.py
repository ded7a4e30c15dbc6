"""Two evaluations of a machine at a time: a port each, and the first one's again when it has ended."""

import os
import subprocess
import sys

import pytest

from tasks.core.project import Project
from tasks.stages.ports import STEP, VARIABLE, evaluation_port
from tasks.stages.table import find_stages

HOLDS = """
import os, sys, time
from pathlib import Path
from tasks.core.project import Project
from tasks.stages.ports import evaluation_port
from tasks.stages.table import find_stages
project = Project(Path(sys.argv[1]))
with evaluation_port(find_stages("evaluate@base")[0], project):
    print(project.evaluation_port, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv(VARIABLE, "21003")
    return Project(tmp_path / "项目")


def port_of(name: str, project: Project) -> int:
    with evaluation_port(find_stages(name)[0], project):
        return project.evaluation_port


def test_a_second_evaluation_has_the_next_port_until_the_first_has_ended(project):
    command = [sys.executable, "-c", HOLDS, str(project.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "21003\n"
        assert port_of("evaluate@adapter", project) == 21003 + STEP
        assert port_of("train", project) == 21003, "it has no server"
        first.kill()
    assert port_of("evaluate@adapter", project) == 21003
    assert os.environ[VARIABLE] == "21003"


def test_without_the_variable_it_is_not_left_behind(project, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    assert port_of("evaluate@base", project) == 8103
    assert VARIABLE not in os.environ
