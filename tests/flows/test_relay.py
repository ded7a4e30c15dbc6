"""A run's output through a relay: it goes where it went before, and who reads it may be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A run in little: it becomes another program, as Prefect's supervisor does, and says a line when it is told to.
RUN = """
import os, sys
from flows.relay import behind_relay, keep_output
if sys.argv[1] == "kept":
    keep_output()
command = [sys.executable, "-c", '''
import sys
print("开始", flush=True)
sys.stdin.readline()
from rich.console import Console
Console(file=sys.stderr).print("还在")
print("写完", flush=True)
open(sys.argv[1], "w").write("done")
''', sys.argv[2]]
os.execv(sys.executable, behind_relay(command) if sys.argv[1] == "behind" else command)
"""


def start(how: str, done: Path, reader: subprocess.Popen) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, how, str(done)]
    with reader.stdin as pipe:
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=pipe, stderr=pipe)


def reader(path: Path) -> subprocess.Popen:
    with path.open("wb") as stream:
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stream)


def ended_after_its_reader(how: str, folder: Path) -> bool:
    """Return whether a run that says something after its reader was killed does its work."""
    said, done = folder / "said", folder / "done"
    worker = reader(said)
    run = start(how, done, worker)
    while not said.read_bytes():
        assert run.poll() is None
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    run.communicate(b"\n", timeout=60)
    return done.exists() and run.returncode == 0


@pytest.mark.parametrize("how", ["kept", "behind"])
def test_a_run_goes_on_where_its_worker_was_killed(tmp_path, how):
    assert ended_after_its_reader(how, tmp_path)


def test_without_a_relay_it_ends(tmp_path):
    assert not ended_after_its_reader("bare", tmp_path)


def test_all_that_is_said_arrives_and_the_reader_sees_the_end(tmp_path):
    worker = reader(tmp_path / "said")
    run = start("kept", tmp_path / "done", worker)
    run.communicate(b"\n", timeout=60)
    # The relay holds the pipe until it has carried all, and no longer.
    assert worker.wait(30) == 0
    # Output and errors have a relay each: their order is nobody's promise, a worker has two pipes too.
    said = (tmp_path / "said").read_text("utf-8")
    assert sorted(said.replace("\n", "")) == sorted("开始还在写完")


def test_a_terminal_or_a_file_has_no_relay(tmp_path):
    script = "from flows.relay import keep_output; import os; keep_output(); print(os.readlink('/proc/self/fd/1'))"
    with (tmp_path / "out").open("wb") as stream:
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=stream, stderr=stream, check=True)
    assert (tmp_path / "out").read_text("utf-8").strip() == os.fspath(tmp_path / "out")
