"""Leases of cards: one holder, all or none, taken over from who was killed. Cards are names here, files are files."""

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from tasks.core import gpu_leases
from tasks.core.errors import ConfigError
from tasks.core.gpu_leases import leased

CARDS = {"GPU-a": "GPU 0", "GPU-b": "GPU 1"}
HOLDS = """
import sys, time
from tasks.core.gpu_leases import leased
with leased({name: name for name in sys.argv[1].split(",")}, int(sys.argv[2]), 9, "train in 病房"):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(gpu_leases, "POLL_S", 0.02)
    return tmp_path / gpu_leases.FOLDER


@pytest.fixture
def holder():
    """Start a process that holds the leases of these cards."""
    started = []

    def hold(*names: str, least: int = 1, waits: bool = False) -> subprocess.Popen:
        words = [sys.executable, "-c", HOLDS, ",".join(names), str(least)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert waits or process.stdout.readline() == "holds\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def take(least=1, most=1) -> list[str]:
    with leased(CARDS, least, most, "quantize") as taken:
        return taken


def test_the_best_free_cards_are_taken_and_given_back(folder):
    assert (take(), take(2, 2), take(1, 9)) == (["GPU-a"], ["GPU-a", "GPU-b"], ["GPU-a", "GPU-b"])
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert (folder / "GPU-a").stat().st_mode & 0o777 == 0o666


def test_a_card_that_another_process_works_on_is_passed_over(holder):
    holder("GPU-a")
    assert take() == ["GPU-b"]
    assert take(1, 9) == ["GPU-b"]


def test_who_waits_says_for_whom_and_takes_over_from_a_holder_that_was_killed(holder, caplog):
    caplog.set_level(logging.INFO)
    process = holder("GPU-a", "GPU-b")
    got = []
    waiter = threading.Thread(target=lambda: got.append(take(2, 2)))
    waiter.start()
    deadline = time.monotonic() + 10
    while not caplog.messages:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert f"GPU 0: train in 病房 (process {process.pid}" in caplog.messages[0]
    assert not got
    process.kill()
    waiter.join(10)
    assert got == [["GPU-a", "GPU-b"]]


def test_who_cannot_have_all_holds_none(holder):
    held = holder("GPU-b")
    waiter = holder("GPU-a", "GPU-b", least=2, waits=True)
    time.sleep(0.5)
    # Between two of its tries the free card is anybody's.
    assert take() == ["GPU-a"]
    held.kill()
    assert waiter.stdout.readline() == "holds\n"


def test_who_works_on_a_card_may_begin_further_work_on_it():
    with leased(CARDS, 1, 1, "evaluate") as first, leased(CARDS, 1, 1, "its server") as second:
        assert first == second == ["GPU-a"]


def test_a_link_or_a_file_in_place_of_the_folder_is_refused(folder, tmp_path):
    folder.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="no folder that this account may write"):
        take()
    folder.unlink()
    folder.mkdir()
    (folder / "GPU-a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=os.strerror(40)):
        take()
    assert not (tmp_path / "elsewhere").exists()
