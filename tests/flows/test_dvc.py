"""DVC as a command of ours: owned, waited for at both ends of a stage, and explained when it fails."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from flows import repro
from flows.limits import Allowance
from flows.owned import OwnedCommand
from flows.repro import run_through_dvc
from tasks.core.errors import TransientError, TunegateError
from tasks.core.params.orchestration import LimitsParams

log = logging.getLogger("test")

#: Another DVC command, as far as its lock goes: DVC's own library takes it, and has it for a while.
HOLDER = """
import sys, time
from dvc.repo import Repo
with Repo().lock:
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""
OWNER = """
import sys, time
from pathlib import Path
from flows.owned import OwnedCommand
work = "sleep 60 & echo $! >left.pid; trap 'sleep 0.3; touch saved; exit' TERM; sleep 60 & wait"
with OwnedCommand(["sh", "-c", work], Path.cwd(), Path("owned.log"), {"PATH": "/usr/bin:/bin"}) as owned:
    for line in owned.lines():
        pass
"""


@pytest.fixture
def holding(tiny_project):
    """Start another process that holds DVC's lock for some seconds; returns when it has it."""
    started = []

    def hold(seconds):
        command = [sys.executable, "-c", HOLDER, str(seconds)]
        process = subprocess.Popen(command, cwd=tiny_project.root, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="test")
    return lambda: "\n".join(caplog.messages)


@pytest.fixture
def changed(tiny_project):
    """Replace a piece of the stages' commands."""

    def change(old, new):
        file = tiny_project.root / "dvc.yaml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")

    return change


def gone(pid, within_s=10):
    deadline = time.monotonic() + within_s
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_stage_waits_to_start_for_another_dvc_command_and_says_which(
    tiny_project, stage_called, holding, said, monkeypatch
):
    monkeypatch.setattr(repro, "LOCK_LOOK_S", 0.5)
    holder = holding(6)
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert (tiny_project.root / "data/prepared/rows.txt").is_file()
    assert f"(pid {holder.pid})" in said()


@pytest.mark.slow
def test_a_wait_that_does_not_end_is_a_transient_error_that_names_the_holder(
    tiny_project, stage_called, holding, monkeypatch
):
    monkeypatch.setattr(repro, "LOCK_WAIT_S", 1.0)
    monkeypatch.setattr(repro, "LOCK_LOOK_S", 0.5)
    holder = holding(60)
    with pytest.raises(TransientError, match=rf"held by .*\(pid {holder.pid}\)"):
        run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert not (tiny_project.root / "data/prepared").exists()


@pytest.mark.slow
def test_a_finished_stage_waits_until_it_can_be_recorded(
    tiny_project, stage_called, holding, said, changed, monkeypatch
):
    """DVC alone gives up after three seconds, and the next run deletes what the stage made."""
    monkeypatch.setattr(repro, "LOCK_LOOK_S", 0.5)
    changed("mkdir -p data/prepared", "touch begun && while [ ! -e go ]; do sleep 0.1; done && mkdir -p data/prepared")

    def take_the_lock():
        while not (tiny_project.root / "begun").exists():
            time.sleep(0.05)
        holding(7)
        (tiny_project.root / "go").touch()

    thread = threading.Thread(target=take_the_lock)
    thread.start()
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    thread.join()
    assert "DVC waits for its lock" in said()
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert said().endswith("prepare: unchanged")


@pytest.mark.slow
def test_two_runs_of_one_stage_are_one_after_the_other(tiny_project, stage_called, said, changed, monkeypatch):
    monkeypatch.setattr(repro, "LOCK_LOOK_S", 0.5)
    changed("mkdir -p data/prepared", "sleep 4 && mkdir -p data/prepared")
    command = ["dvc", "repro", "-s", "prepare"]
    other = subprocess.Popen(command, cwd=tiny_project.root, stdout=subprocess.PIPE, text=True)
    while "> " not in other.stdout.readline():
        pass
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    other.communicate()
    assert other.returncode == 0
    assert f"(pid {other.pid})" in said()
    assert said().endswith("prepare: unchanged")


def test_a_logger_that_fails_costs_its_lines_and_not_the_stage(tiny_project, stage_called):
    class Broken(logging.Logger):
        def log(self, *_, **__):
            raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError):
        run_through_dvc(stage_called("prepare"), tiny_project, Broken("broken"))
    assert (tiny_project.root / "data/prepared/rows.txt").is_file()
    assert "prepare" in (tiny_project.root / "dvc.lock").read_text("utf-8")


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), pytest.param(15, "SIGTERM", marks=pytest.mark.slow)])
def test_a_signal_is_named_and_memory_is_blamed_only_on_evidence(tiny_project, stage_called, number, name, changed):
    changed("kill -9 $$", f"kill -{number} $$")
    with pytest.raises(TunegateError, match=rf"ended by signal {number} \({name}\)") as caught:
        run_through_dvc(stage_called("killed"), tiny_project, log)
    assert "memory" not in caught.value.message
    assert "half way" in caught.value.message


@pytest.mark.parametrize(("number", "blamed"), [(9, True), pytest.param(15, False, marks=pytest.mark.slow)])
def test_only_a_signal_9_with_the_kernels_word_is_out_of_memory(
    tiny_project, stage_called, number, blamed, changed, monkeypatch
):
    monkeypatch.setattr(repro.MemoryWatch, "verdict", lambda _: "the kernel killed a process for want of memory")
    changed("kill -9 $$", f"kill -{number} $$")
    with pytest.raises(TunegateError) as caught:
        run_through_dvc(stage_called("killed"), tiny_project, log)
    assert ("out of memory" in caught.value.message) is blamed


@pytest.mark.slow
def test_what_dvc_itself_refuses_is_told_in_its_words(tiny_project, stage_called):
    (tiny_project.root / "dvc.yaml").write_text("stages: {prepare: {cmd: echo, deps: [不存在]}}", "utf-8")
    with pytest.raises(TunegateError, match="DVC refused") as caught:
        run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert "不存在" in caught.value.message
    assert "memory" not in caught.value.message


@pytest.mark.slow
def test_the_output_of_a_failed_stage_stays_until_it_succeeds(tiny_project, stage_called):
    logs = tiny_project.state / "logs" / "stages"
    with pytest.raises(TunegateError):
        run_through_dvc(stage_called("killed"), tiny_project, log)
    assert "half way" in next(logs.glob("killed-*.log")).read_text("utf-8")
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert not list(logs.glob("prepare-*"))


def test_a_command_loses_nothing_and_leaves_nobody_when_its_owner_is_killed(tmp_path):
    root = str(Path(__file__).parents[2])
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root})
    try:
        while not (tmp_path / "left.pid").is_file() or not (tmp_path / "left.pid").read_text().strip():
            time.sleep(0.05)
        time.sleep(0.2)
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert gone(int((tmp_path / "left.pid").read_text()))
    deadline = time.monotonic() + 10
    while not (tmp_path / "saved").is_file():
        assert time.monotonic() < deadline, "SIGTERM comes first: training writes a checkpoint on it"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_ended_with_its_children_and_says_so(tiny_project, stage_called, changed):
    changed("mkdir -p data/prepared", "sleep 60 & echo $! >left.pid; wait && mkdir -p data/prepared")
    limits = LimitsParams(run_timeout_s=100.0, stage_timeout_s=2.0)
    with pytest.raises(TunegateError, match=r"prepare took longer than 2 s \(limits.stage_timeout_s\)"):
        run_through_dvc(stage_called("prepare"), tiny_project, log, Allowance.begin(limits))
    assert gone(int((tiny_project.root / "left.pid").read_text()))
    assert not (tiny_project.root / "dvc.lock").exists()


def test_an_exception_in_the_owner_ends_the_command(tmp_path):
    def own():
        command = ["sh", "-c", "echo $$ >pid; sleep 60"]
        with OwnedCommand(command, tmp_path, tmp_path / "l", {"PATH": "/usr/bin:/bin"}) as owned:
            for _ in owned.lines():
                if (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip():
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own()
    assert gone(int((tmp_path / "pid").read_text()))


def test_the_last_line_is_read_without_its_end(tmp_path):
    with OwnedCommand(["printf", "一\\n二"], tmp_path, tmp_path / "l", {"PATH": "/usr/bin:/bin"}) as owned:
        lines = [line for line in owned.lines() if line is not None]
    assert lines == ["一", "二"]
    assert (owned.code, owned.signal) == (0, None)
