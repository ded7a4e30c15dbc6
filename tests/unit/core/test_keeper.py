"""Who holds a command ends it in any case: one that goes at once, and one whose keeper is stuck."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.core.keeper import alive, below, held, let_go


@pytest.fixture
def keeper():
    command = held([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], 1.0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout.readline() == b"up\n"
        yield started
        started.kill()


@pytest.mark.parametrize("stuck", [False, True])
def test_nothing_is_left_of_a_command_that_is_let_go(keeper, stuck):
    (command,) = [process.pid for process in below(keeper.pid)]
    if stuck:
        os.kill(keeper.pid, signal.SIGSTOP)
    let_go(keeper, 0.5 if stuck else 20.0)
    assert (keeper.returncode == -signal.SIGKILL) == stuck
    until = time.monotonic() + 10
    while alive(command) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(command)
