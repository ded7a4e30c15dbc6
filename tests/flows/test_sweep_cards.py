"""Two trials of a sweep at a time, with real DVC, Prefect, MLflow and git; the cards are a stand-in's.

By hand, 50 s on 2 cores. Every push: tests/unit/sweep/test_drive.py has the same with trials that only write a report.
"""

import os
import signal
from pathlib import Path

import pytest

from tasks.core.project import Project
from tests.flows.test_sweep import KEY, done, project, ran, server, started, wait_for
from tests.unit.stand_in_nvidia_smi import stand_in_gpus

__all__ = ["project", "server", "stand_in_gpus"]

pytestmark = pytest.mark.net


def test_two_cards_run_two_trials_at_a_time_and_an_interrupt_leaves_none(project, tmp_path, stand_in_gpus):
    stand_in_gpus(70, 70)
    held = [tmp_path / f"hold-{many}" for many in (8, 16)]
    for path in held:
        path.touch()
    process = started(project, "run", "两张卡", "--hop", "base", "--set", f"{KEY}=8,16")
    # Neither ends before both have begun.
    for many in (8, 16):
        wait_for(process, tmp_path, f"evaluate@base {many}")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert not [path for path in Path("/proc").glob("[0-9]*/cwd") if within(path, project)]
    for path in held:
        path.unlink()

    value = done(project, "run", "两张卡")
    assert value["result"]["winner"] == 1
    assert sorted(ran(tmp_path)) == [*["evaluate@base 16"] * 2, "evaluate@base 32", *["evaluate@base 8"] * 2,
                                     "prepare 32"]  # fmt: skip


def within(cwd: Path, project: Project) -> bool:
    try:
        return Path(os.readlink(cwd)).is_relative_to(project.root)
    except OSError:
        return False
