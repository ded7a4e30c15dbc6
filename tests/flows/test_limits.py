"""A stage that takes too long is ended with all its processes, and says so; one in time is not touched."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.limits import Allowance, ended_after
from tasks.core.errors import TunegateError
from tasks.core.params.orchestration import LimitsParams

LIMITS = LimitsParams(run_timeout_s=100.0, stage_timeout_s=60.0)
#: A child that starts one of its own, which lives on where only the child is killed; both may ignore SIGTERM.
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "if 'stubborn' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(float(sys.argv[1]))\n"
    "child.kill()\n"
)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def run(*words, seconds):
    command = [sys.executable, "-c", STUBBORN, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        with ended_after(process, seconds, grace_s=0.3) as over:
            lines = list(process.stdout)
        process.wait()
    return over.is_set(), process.returncode, int(lines[0])


@pytest.mark.parametrize(("words", "code"), [(("60",), -15), (("60", "stubborn"), -9)])
def test_what_takes_too_long_is_ended_with_its_children(words, code):
    began = time.monotonic()
    over, ended, child = run(*words, seconds=0.5)
    assert (over, ended) == (True, code)
    assert time.monotonic() - began < 10
    assert not _alive(child)


def test_what_is_done_in_time_is_not_touched():
    assert run("0", seconds=30)[:2] == (False, 0)


@pytest.mark.parametrize(
    ("elapsed_s", "allowed_s", "key"), [(0.0, 60.0, "limits.stage_timeout_s"), (70.0, 30.0, "limits.run_timeout_s")]
)
def test_a_stage_may_take_its_own_time_and_no_more_than_the_run_has_left(elapsed_s, allowed_s, key):
    allowance = Allowance(LIMITS, time.monotonic() - elapsed_s)
    assert allowance.stage_s("train") == pytest.approx(allowed_s, abs=1)
    error = allowance.over("train", allowance.stage_s("train"))
    assert "train" in error.message
    assert key in error.message
    assert key in error.hint


def test_a_run_without_time_left_starts_no_stage():
    with pytest.raises(TunegateError, match=r"took longer than .* \(limits.run_timeout_s\)"):
        Allowance(LIMITS, time.monotonic() - 101).stage_s("gate")
