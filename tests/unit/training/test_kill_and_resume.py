"""The real 135M model in 4 bit, killed with -9 in the middle: the same weights as an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.core.digest import file_digests

SCRIPT = """
import json, sys
from pathlib import Path
from tasks.core.project import Project
from tasks.core.settings import TrainParams
from tasks.training.train import train

base, prepared, output, scratch, state, params = sys.argv[1:]
Path(output).mkdir()
Path(scratch).mkdir(exist_ok=True)
train(TrainParams.model_validate_json(params), output=Path(output), prepared=Path(prepared), validation=Path(prepared),
      base=Path(base), scratch=Path(scratch), lineage_id=Path(scratch).name, project=Project(Path(state)))
"""


@pytest.fixture
def training(base, prepared, project, tmp_path, train_params):
    """Start the train stage in a process of its own."""
    params = train_params(mode="qlora", max_steps=6, checkpoint_every_steps=2)

    def start(output, scratch):
        places = [base, prepared, tmp_path / output, tmp_path / scratch, project.root]
        command = [sys.executable, "-c", SCRIPT, *map(str, places), params.model_dump_json()]
        return subprocess.Popen(command)

    return start


def wait_for(path, process):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_training_ends_in_the_same_weights(training, tmp_path):
    assert training("whole", "a").wait() == 0
    killed = training("killed", "b")
    wait_for(tmp_path / "b/checkpoint-2/manifest.json", killed)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/training.json").exists()
    assert training("resumed", "b").wait() == 0
    assert file_digests(tmp_path / "resumed") == file_digests(tmp_path / "whole")


@pytest.mark.slow
def test_a_training_that_was_never_recorded_is_not_done_again(training, tmp_path):
    """DVC records an output after the stage has ended; ended in between, it deletes the output and asks again."""
    assert training("first", "c").wait() == 0
    begun = time.monotonic()
    assert training("again", "c").wait() == 0
    assert time.monotonic() - begun < 120
    assert file_digests(tmp_path / "again") == file_digests(tmp_path / "first")
