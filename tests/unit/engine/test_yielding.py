"""A process that yields, and takes its share back with every thread and child that it has made meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.engine import yielding
from tasks.engine.yielding import NICENESS, take_full_share, yield_to_others

#: A thread and a child, then the word that they are there.
PROGRAM = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("there", flush=True)
time.sleep(60)
"""


@pytest.fixture
def started():
    # Waits for its input, so that it makes nothing before it yields.
    command = ["sh", "-c", 'read go; exec "$0" -c "$1"', sys.executable, PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def grown(process) -> None:
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"there\n"


def nicenesses(pid: int) -> set[int]:
    processes = [pid, *(child.pid for child in yielding.below(pid))]
    assert len(processes) == 2
    threads = [thread for one in processes for thread in yielding._threads(one)]
    assert len(threads) >= 3
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


def autogroup(pid: int) -> int | None:
    path = Path(f"/proc/{pid}/autogroup")
    return int(path.read_text().split()[-1]) if path.is_file() else None


def test_it_yields_and_takes_its_share_back(started):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    yield_to_others(started.pid)
    grown(started)
    may = yielding._may_take_back()
    assert nicenesses(started.pid) == {own + NICENESS if may else own}
    assert autogroup(started.pid) in (NICENESS, None)
    take_full_share(started.pid)
    assert nicenesses(started.pid) == {own}
    assert autogroup(started.pid) in (0, None)


def test_what_could_not_be_taken_back_is_not_given(started, monkeypatch):
    monkeypatch.setattr(yielding, "_may_take_back", lambda: False)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    yield_to_others(started.pid)
    assert os.getpriority(os.PRIO_PROCESS, started.pid) == own


def test_one_that_has_ended_is_no_matter():
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    began = time.monotonic()
    yield_to_others(process.pid)
    take_full_share(process.pid)
    assert time.monotonic() - began < 0.5
