"""kill -9 of everything that takes part in a rollout, with callers at the gateway.

As `test_kill_matrix.py`, but traffic moves by share: after each round one version is live, alias, history and record of
the host agree, what was let through is recorded once with its evidence, and nobody got half an answer that looks whole.
"""

import contextlib
import os
import random
import signal
import time

import pytest

from tasks.core.errors import TransientError
from tasks.release.history import read_history
from tasks.release.registry import Registry
from tasks.serving import control
from tests.contract.changing import TRIAL_PLACES, start
from tests.contract.hosts import server_pids
from tests.contract.rollouts import Crowd, decide_quickly
from tests.contract.test_kill_matrix import mlflow, settled, three

__all__ = ["mlflow", "three"]
pytestmark = pytest.mark.slow

VICTIMS = (*TRIAL_PLACES, "command", "host", "vllm", "nobody", "host and command", "host", "vllm", "mlflow", "nobody")


@pytest.fixture
def quick(project, three):
    decide_quickly(project, longest_s=30.0)
    control.stop_host(project.project)
    control.ensure_host(project.project)
    settled(project, three)
    return three


def kill(project, mlflow, victim: str, command) -> None:
    if "command" in victim:
        command.kill()
    if "host" in victim:
        with contextlib.suppress(TransientError):
            project.kill_host()
    if "mlflow" in victim:
        mlflow.kill()
    if victim == "vllm":
        # Of the two servers, one: the live one or the candidate.
        for pid in random.Random(len(victim)).sample(server_pids(project), 1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_kill_9_in_the_middle_of_rollouts(project, mlflow, quick):
    settings, dice = quick, random.Random(20261129)
    registry = Registry(project.project, settings.register_.model_name)
    let_through = 0
    with Crowd(project, callers=3) as crowd:
        for number, victim in enumerate(VICTIMS):
            present = registry.champion().number
            wanted = "2" if present != "2" else "3"
            length = len(read_history(registry))
            command, ready = start(victim, "canary", wanted, f"李审 {number}", mlflow.process.pid)
            if victim not in (*TRIAL_PLACES, "nobody"):
                assert ready.wait(60)
                time.sleep(dice.uniform(0.5, 5.0))
                kill(project, mlflow, victim, command)
            command.join()
            if victim in TRIAL_PLACES:
                assert command.exitcode == -signal.SIGKILL, (number, victim)
            if victim == "mlflow":
                time.sleep(2)
                mlflow.start()
            status = settled(project, settings)
            history = read_history(registry)
            assert status["rollout"] is None
            assert status["version"] == status["wanted"] == registry.champion().number == history[-1].version, victim
            assert len(history) - length in (0, 1), (number, victim)
            if len(history) > length:
                let_through += 1
                assert (history[-1].version, history[-1].by) == (wanted, f"李审 {number}")
                assert "canary: promoted, every test passed" in history[-1].reason
            elif victim == "nobody":
                pytest.fail(f"an equal version was not let through: {control.last_rollout(project.project)}")
    assert let_through >= 2
    assert crowd.torn == 0
    assert crowd.statuses[200] > 200
