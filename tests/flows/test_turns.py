"""Turns of stages on the processor: one at a time of a checkout, the urgent first, none kept by the dead."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from flows import turns
from flows.turns import FOLDER, own_turn
from tasks.core.errors import TunegateError
from tasks.core.project import Project

HOLDS = """
import sys, time
from pathlib import Path
from flows.turns import own_turn
from tasks.core.project import Project
with own_turn(Project(Path(sys.argv[1])), "prepare in 别的", urgent=False, say=print, look=lambda: None):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.setattr(turns, "POLL_S", 0.01)
    return Project(tmp_path)


@contextmanager
def holding(project):
    """Another process at work; yields it."""
    command = [sys.executable, "-c", HOLDS, str(project.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def turn(project, what, *, urgent=False, say=lambda _: None, look=lambda: None):
    return own_turn(project, what, urgent=urgent, say=say, look=look)


def test_the_urgent_go_first_then_who_came_first_and_never_two_at_once(project):
    order, at_work, most = [], [], []

    def work(what, urgent):
        with turn(project, what, urgent=urgent):
            at_work.append(what)
            most.append(len(at_work))
            order.append(what)
            time.sleep(0.03)
            at_work.remove(what)

    asked = [("实验一", False), ("实验二", False), ("发布一", True), ("发布二", True)]
    threads = [threading.Thread(target=work, args=one) for one in asked]
    with turn(project, "first"):
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert order == ["发布一", "发布二", "实验一", "实验二"]
    assert set(most) == {1}
    assert [name for name in os.listdir(project.state / FOLDER) if not name.startswith(".")] == []


def test_a_process_that_is_killed_leaves_no_turn_behind(project):
    said = []
    with holding(project) as other:
        threading.Timer(0.2, other.send_signal, [signal.SIGKILL]).start()
        with turn(project, "merge", say=said.append):
            assert other.wait(10) == -signal.SIGKILL
    assert "prepare in 别的" in said[0]
    assert len(os.listdir(project.state / FOLDER)) == 1, "its place is gone too"


def test_who_has_no_time_left_stops_waiting(project):
    def look():
        raise TunegateError("over")

    with holding(project):
        with pytest.raises(TunegateError, match="over"), turn(project, "merge", look=look):
            pass
        assert len([name for name in os.listdir(project.state / FOLDER) if not name.startswith(".")]) == 1


def test_worktrees_of_a_checkout_share_its_turns(project, tmp_path):
    worktree = tmp_path / "worktree"
    (worktree / ".tunegate-run").mkdir(parents=True)
    project.state.mkdir()
    (worktree / ".tunegate").symlink_to(project.state)
    assert Project(worktree).state == project.state.resolve()
