"""Who holds DVC's lock: the lock itself, as DVC's own library takes it."""

import logging
import subprocess
import sys
import threading

import pytest
import zc.lockfile

from tasks.core.project import Project
from tasks.stages import dvc_lock
from tasks.stages.dvc_lock import Holder, holder_of, wait_until_free


@pytest.fixture
def project(tmp_path):
    (tmp_path / dvc_lock.LOCK).parent.mkdir(parents=True)
    return Project(tmp_path)


@pytest.fixture
def taken(project):
    lock = zc.lockfile.LockFile(str(project.root / dvc_lock.LOCK))
    yield lock
    lock.close()


def test_nobody_holds_a_lock_that_was_never_taken_or_given_back(project):
    assert holder_of(project) is None
    zc.lockfile.LockFile(str(project.root / dvc_lock.LOCK)).close()
    assert holder_of(project) is None


def test_the_holder_is_named_by_its_command(project, tmp_path):
    script = tmp_path / "another-dvc"
    script.write_text(f"import sys, zc.lockfile\nlock = zc.lockfile.LockFile({str(project.root / dvc_lock.LOCK)!r})\n"
                      "print(flush=True)\nsys.stdin.read()\n")  # fmt: skip
    command = [sys.executable, script, "repro"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = holder_of(project)
        process.stdin.close()
    assert (found.pid, found.command) == (process.pid, "another-dvc repro")
    assert f"(pid {process.pid})" in str(found)
    assert str(Holder(0, "")) == "another DVC command"


def test_looking_leaves_the_lock_free(project):
    zc.lockfile.LockFile(str(project.root / dvc_lock.LOCK)).close()
    assert holder_of(project) is None
    zc.lockfile.LockFile(str(project.root / dvc_lock.LOCK)).close()


def test_a_finished_stage_waits_for_the_lock_and_says_for_whom(project, taken, monkeypatch, caplog):
    monkeypatch.setattr(dvc_lock, "POLL_S", 0.01)
    monkeypatch.setattr(dvc_lock, "_command_of", lambda pid: "dvc push")
    caplog.set_level(logging.WARNING)
    timer = threading.Timer(0.2, taken.close)
    timer.start()
    wait_until_free(project)
    assert not timer.is_alive()
    assert "`dvc push`" in caplog.text


def test_a_command_above_this_process_is_not_waited_for(project, taken, monkeypatch):
    import os

    (project.root / dvc_lock.LOCK).write_text(f" {os.getppid()}\n")
    wait_until_free(project)
