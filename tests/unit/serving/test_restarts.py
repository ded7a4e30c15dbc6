"""How often `tunegate serve` starts a host again: the waits are for one trouble, not for its whole life."""

import subprocess

import pytest

from tasks.cli import serve
from tasks.core.errors import MissingToolError, TransientError
from tasks.core.project import Project
from tasks.serving import control

WELL, AT_ONCE = "sleep 0.4; kill -9 $$", "kill -9 $$"


@pytest.fixture
def serve_hosts(tmp_path, monkeypatch):
    """Serve with hosts that end as told; 0.3 s are a healthy life; return how many were started."""

    def run(*lives: str, restarts=1, starts=lambda number: None) -> int:
        started = []

        def start_host(project, settings):
            started.append(lives[len(started)])
            return subprocess.Popen(["sh", "-c", started[-1]], stdin=subprocess.PIPE)

        monkeypatch.setattr(serve, "_start_host", start_host)
        monkeypatch.setattr(serve, "_reconcile_forever", lambda project, settings, keeper: keeper.wait())
        monkeypatch.setattr(serve, "RESTARTS_AFTER_S", (0.0,) * restarts)
        monkeypatch.setattr(serve, "HEALTHY_AFTER_S", 0.3)
        monkeypatch.setattr(control, "wait_for_host", lambda *given: starts(len(started)))
        try:
            serve._keep_serving(Project(tmp_path), None)
        except TransientError as error:
            started.append(error)
        return len([life for life in started if isinstance(life, str)])

    return run


def test_a_host_that_ends_again_and_again_is_given_up(serve_hosts):
    assert serve_hosts(AT_ONCE, AT_ONCE, AT_ONCE) == 2


def test_a_healthy_life_gives_all_the_restarts_back(serve_hosts):
    assert serve_hosts(WELL, WELL, AT_ONCE, AT_ONCE) == 3


def test_a_host_killed_while_it_starts_again_counts_as_one_restart(serve_hosts):
    def starts(number):
        if number == 2:
            raise TransientError("the serving host ended with code -9")

    assert serve_hosts(AT_ONCE, AT_ONCE, "exit 0", restarts=2, starts=starts) == 3
    assert serve_hosts(AT_ONCE, AT_ONCE, "exit 0", restarts=1, starts=starts) == 2


def test_what_a_restart_would_meet_again_ends_it(serve_hosts):
    assert serve_hosts(WELL, f"exit {MissingToolError.exit_code}", AT_ONCE) == 2
