"""Processes that train together: what they return, what each bad end says, and that none is left. Real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError
from tasks.core.keeper import signal_in
from tasks.training.parallel import launch, strategies
from tasks.training.parallel.launch import RankFailedError, rank_environment

OWNER = """
import sys
from pathlib import Path
from tasks.core.project import Project
from tasks.training.parallel.launch import train_together
from tests.unit.training.conftest import make_params

scratch = Path(sys.argv[1])
params = make_params(parallel={"strategy": "ddp", "processes": 2}, gradient_accumulation_steps=2)
train_together("tests.unit.training.parallel.ranks:wait", params, scratch=scratch, paths={}, lineage_id="tg-owner",
               project=Project(scratch))
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids_in(folder):
    return [int(path.read_text()) for path in sorted(folder.glob("pid-*")) if path.read_text()]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_the_first_process_s_result_comes_back_and_nothing_is_left(start_ranks, tmp_path):
    found = start_ranks("say_who")
    assert found == {"rank": 0, "mode": "lora", "only_here": "lo"}
    assert len(set(pids_in(tmp_path / "scratch"))) == 2
    assert not any(alive(pid) for pid in pids_in(tmp_path / "scratch"))
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == ["pid-0", "pid-1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        ("refuse", DataContractError, "第二个进程拒绝了数据"),
        ("crash", RankFailedError, "training process 1 of 2: ZeroDivisionError: a fault of ours"),
        ("be_killed", TransientError, "training process 1 of 2 was ended by SIGKILL"),
    ],
)
def test_one_bad_end_ends_all_and_says_what_it_was(start_ranks, tmp_path, function, kind, words):
    with pytest.raises(kind, match=words) as caught:
        start_ranks(function)
    assert type(caught.value) is kind
    if kind is DataContractError:
        assert caught.value.hint == "tunegate data validate"
    if kind is TransientError:
        assert caught.value.hint.startswith("run the same command again: it starts anew")
    assert not any(alive(pid) for pid in pids_in(tmp_path / "scratch"))


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_them(tmp_path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], env=os.environ | {"PYTHONPATH": os.getcwd()})
    try:
        wait_for(lambda: len(pids_in(tmp_path)) == 2 or owner.poll() is not None)
        assert all(alive(pid) for pid in pids_in(tmp_path))
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids_in(tmp_path)), launch.GRACE_S + 10)


@pytest.mark.parametrize(
    ("code", "number"), [(0, None), (1, None), (75, None), (130, None), (247, 9), (241, 15), (-9, 9), (191, None)]
)
def test_a_signal_is_told_from_an_exit_code(code, number):
    assert signal_in(code) == number


def test_processes_are_numbered_as_accelerate_reads_them_and_stay_on_this_machine():
    found = rank_environment(1, 2)
    assert {name: found[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")} == {
        "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    assert found["GLOO_SOCKET_IFNAME"] == found["NCCL_SOCKET_IFNAME"] == "lo"
    assert not {"MASTER_ADDR", "MASTER_PORT"} & set(found)


def test_zero3_without_deepspeed_names_what_to_install_before_anything_starts(start_ranks, monkeypatch, tmp_path):
    monkeypatch.setattr(strategies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="DeepSpeed is not installed") as caught:
        start_ranks("wait", strategy="zero3")
    assert "pip install" in caught.value.hint
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("parallel", "steps", "right"),
    [
        ({"strategy": "single", "processes": 1}, 1, True),
        ({"strategy": "fsdp", "processes": 4}, 16, True),
        ({"strategy": "single", "processes": 2}, 2, False),
        ({"strategy": "fsdp", "processes": 1}, 2, False),
        ({"strategy": "ddp", "processes": 4}, 6, False),
        ({"strategy": "dp", "processes": 2}, 2, False),
        ({"strategy": "ddp", "processes": 0}, 2, False),
    ],
)
def test_a_step_that_does_not_deal_out_evenly_is_refused(tmp_path, root_params, parallel, steps, right):
    path = root_params(parallel=parallel, gradient_accumulation_steps=steps)
    from tasks.core.settings import load_settings

    if right:
        assert load_settings(path).train.parallel.processes == parallel["processes"]
        return
    with pytest.raises(ConfigError, match=r"train"):
        load_settings(path)
