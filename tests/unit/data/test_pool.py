"""Chunks through worker processes: order, errors, killed workers."""

import os
import signal

import pytest

from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.data.pool import PROCESSES, ordered, process_count


class Doubled:
    """Work that doubles numbers, and does what a test asks for."""

    def __init__(self, at: int, event: str) -> None:
        self.at, self.event = at, event

    def __call__(self, number: int) -> int:
        if number == self.at and self.event == "refuse":
            raise DataContractError(f"第 {number} 行坏了", "mend it")
        if number == self.at and self.event == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_keep_the_order(processes):
    assert list(ordered(Doubled, (-1, ""), iter(range(40)), processes)) == [2 * number for number in range(40)]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_keeps_its_message_and_its_hint(processes):
    with pytest.raises(DataContractError) as refused:
        list(ordered(Doubled, (7, "refuse"), range(40), processes))
    assert refused.value.message == "第 7 行坏了"
    assert refused.value.hint == "mend it"
    assert refused.value.exit_code == 3


def test_a_killed_worker_is_a_clear_transient_error():
    with pytest.raises(TransientError, match="out of memory"):
        list(ordered(Doubled, (3, "die"), range(40), 2))


def test_items_are_read_as_they_are_needed():
    read = []
    results = ordered(Doubled, (-1, ""), (read.append(n) or n for n in range(1000)), 1)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(read) < 10


def test_small_data_starts_no_process(monkeypatch):
    monkeypatch.delenv(PROCESSES, raising=False)
    assert process_count(1 << 20) == 1
    assert process_count(1 << 30) == len(os.sched_getaffinity(0))
    monkeypatch.setenv(PROCESSES, "3")
    assert process_count(1) == 3


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_wrong_number_of_processes_is_said(monkeypatch, value):
    monkeypatch.setenv(PROCESSES, value)
    with pytest.raises(ConfigError, match=PROCESSES):
        process_count(1)
