"""Training as a process, killed or asked to stop in the middle: the same weights as an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.core.digest import file_digests
from tasks.training.checkpoints import last_complete, step_of

SCRIPT = """
import json, sys
from pathlib import Path
from tasks.core.guard import guarded
from tasks.core.logs import setup_logging
from tasks.core.project import Project
from tasks.core.settings import TrainParams
from tasks.training.train import train

base, prepared, output, scratch, state, params = sys.argv[1:]
Path(output).mkdir()
Path(scratch).mkdir(exist_ok=True)
setup_logging()
sys.exit(guarded(lambda: train(
    TrainParams.model_validate_json(params), output=Path(output), prepared=Path(prepared), validation=Path(prepared),
    base=Path(base), scratch=Path(scratch), lineage_id=Path(scratch).name, project=Project(Path(state)))))
"""


#: One of two processes of a training; only the second gets the signal.
ONE_OF_TWO = """
import sys
from types import SimpleNamespace
import torch
from tasks.training.interruption import Interruption

rank, meeting = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
found, args = Interruption(), SimpleNamespace(world_size=2, device="cpu")
found.on_train_begin(args, None, None)
for step in (1, 2, 3):
    if rank == 1 and step == 2:
        found.signalled(15, None)
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    found.on_step_end(args, None, control)
    if control.should_training_stop:
        assert control.should_save
        print(step)
        break
torch.distributed.destroy_process_group()
"""


@pytest.fixture
def training(base, tiny, prepared, project, tmp_path, train_params):
    """Start the train stage in a process of its own; settings make a short training of the tiny model."""

    def start(output, scratch, **settings):
        params = train_params(**(settings or {"mode": "qlora", "max_steps": 6, "checkpoint_every_steps": 2}))
        places = [tiny if settings else base, prepared, tmp_path / output, tmp_path / scratch, project.root]
        command = [sys.executable, "-c", SCRIPT, *map(str, places), params.model_dump_json()]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    return start


def wait_for(path, process, word=""):
    """Wait for a file that holds a word."""
    deadline = time.monotonic() + 300
    while not (path.exists() and word in path.read_text("utf-8")):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(process) -> tuple[int, str]:
    """Return the exit code of a training and what it said."""
    said = process.communicate(timeout=600)[1]
    return process.returncode, said


@pytest.mark.slow
def test_killed_training_ends_in_the_same_weights(training, tmp_path):
    assert ended(training("whole", "a"))[0] == 0
    killed = training("killed", "b")
    wait_for(tmp_path / "b/checkpoint-2/manifest.json", killed)
    os.kill(killed.pid, signal.SIGKILL)
    assert ended(killed)[0] == -signal.SIGKILL
    assert not (tmp_path / "killed/training.json").exists()
    assert ended(training("resumed", "b"))[0] == 0
    assert file_digests(tmp_path / "resumed") == file_digests(tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_ends_training_with_a_checkpoint_to_go_on_from(training, project, tmp_path):
    settings = {"max_steps": 12, "checkpoint_every_steps": 1000}
    assert ended(training("whole", "c", **settings))[0] == 0
    stopped = training("stopped", "d", **settings)
    wait_for(project.state / "tracking/d.jsonl", stopped, '"step": 1,')
    os.kill(stopped.pid, signal.SIGTERM)
    code, said = ended(stopped)
    assert code == 128 + signal.SIGTERM
    checkpoint = last_complete(tmp_path / "d")
    assert 0 < step_of(checkpoint) < 12
    assert f"stopped by SIGTERM; training resumes at step {step_of(checkpoint) + 1}" in said
    code, said = ended(training("resumed", "d", **settings))
    assert (code, f"going on after step {step_of(checkpoint)}" in said) == (0, True)
    assert file_digests(tmp_path / "resumed") == file_digests(tmp_path / "whole")


def read_until(process, words) -> None:
    """Read what a training says up to a line with these words."""
    while words not in (line := process.stderr.readline()):
        assert line, f"it ended before it said {words!r}"


@pytest.mark.slow
def test_a_second_sigterm_ends_a_long_step_at_once(training, tmp_path):
    process = training("out", "e", max_steps=1, gradient_accumulation_steps=20000)
    try:
        read_until(process, "1 steps of")
        time.sleep(3)
        os.kill(process.pid, signal.SIGTERM)
        read_until(process, "stopping after the step under way")
        time.sleep(0.5)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
        started = time.monotonic()
        assert ended(process)[0] == -signal.SIGTERM
        assert time.monotonic() - started < 5
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert last_complete(tmp_path / "e") is None


@pytest.mark.slow
def test_all_processes_of_a_training_stop_after_the_same_step(tmp_path):
    command = [sys.executable, "-c", ONE_OF_TWO]
    both = [subprocess.Popen([*command, rank, str(tmp_path / "meeting")], stdout=subprocess.PIPE) for rank in "01"]
    assert [process.communicate(timeout=120)[0] for process in both] == [b"2\n", b"2\n"]


@pytest.mark.slow
def test_a_training_that_was_never_recorded_is_not_done_again(training, tmp_path):
    """DVC records an output after the stage has ended; ended in between, it deletes the output and asks again."""
    settings = {"max_steps": 4, "checkpoint_every_steps": 3}
    assert ended(training("first", "f", **settings))[0] == 0
    code, said = ended(training("again", "f", **settings))
    assert (code, "going on after step 4" in said) == (0, True)
    assert file_digests(tmp_path / "again") == file_digests(tmp_path / "first")
