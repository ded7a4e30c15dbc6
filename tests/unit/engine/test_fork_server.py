"""The fork server: a server for each request, that lives as long as who asked; nothing outlives its owner."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tasks.core.keeper import held
from tasks.engine import fork_server
from tasks.engine.forking import CLIENT, FOLDER, forked, socket_path
from tests.contract.conftest import unused_ports

#: A real server of the standard library in vLLM's place, with a process of its own as vLLM has its engine: what is
#: tested is whose process lives how long.
FAMILY = """
import os, runpy, time
if not os.fork():
    time.sleep(600)
runpy.run_module("http.server", run_name="__main__")
"""
STARTED = f"import sys; sys.path[:0] = [{str(Path(fork_server.__file__).parent)!r}, sys.argv[2]]; " \
          "import fork_server; fork_server.main(sys.argv[1], module='family', preloaded=['http.server'])"  # fmt: skip
PYTHON = Path(sys.executable)
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}


def wait_until(true, what: str, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running fork server, named in the environment as `ForkServers` name it."""
    folder = Path("/tmp") / f"tg-{os.getpid()}"
    folder.mkdir()
    path = socket_path(folder, PYTHON, ENVIRONMENT)
    (tmp_path / "family.py").write_text(FAMILY)
    process = subprocess.Popen([sys.executable, "-c", STARTED, str(path), str(tmp_path)], env=ENVIRONMENT)
    monkeypatch.setenv(FOLDER, str(folder))
    wait_until(path.exists, "no socket")
    yield process
    process.kill()
    process.wait()
    path.unlink(missing_ok=True)
    folder.rmdir()


def start(port: int, log: Path) -> subprocess.Popen:
    command = forked(PYTHON, [str(port), "--bind", "127.0.0.1"], ENVIRONMENT)
    assert command is not None
    with log.open("wb") as output:
        process = subprocess.Popen(held(command, 5.0), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                                   env=ENVIRONMENT, cwd=log.parent)  # fmt: skip
    wait_until(lambda: answers(port), log.read_text())
    return process


def test_two_servers_each_with_its_own_port_log_and_end(server, tmp_path):
    first, second = unused_ports(2)
    one, two = start(first, tmp_path / "one.log"), start(second, tmp_path / "two.log")
    assert [(tmp_path / name).read_text().count("GET /") for name in ("one.log", "two.log")] == [1, 1]
    one.stdin.close()
    assert one.wait(10) in (0, 128 + signal.SIGTERM)
    assert not answers(first)
    assert answers(second)
    two.stdin.close()
    two.wait(10)
    wait_until(lambda: not psutil.Process(server.pid).children(), "a forked server is left")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["who asked", "fork server", "fork server, gently"])
def test_no_server_outlives_whom_it_is_for(server, tmp_path, victim):
    (port,) = unused_ports(1)
    keeper = start(port, tmp_path / "one.log")
    family = psutil.Process(server.pid).children(recursive=True)
    assert len(family) == 2
    if victim == "who asked":
        psutil.Process(keeper.pid).children()[0].kill()
    else:
        server.send_signal(signal.SIGTERM if "gently" in victim else signal.SIGKILL)
    assert keeper.wait(20) != 0  # said to who asked
    keeper.stdin.close()
    wait_until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family), "one lives on")
    assert not answers(port)
    if "gently" in victim:
        assert server.wait(10) == 0


def test_a_server_that_cannot_start_says_why_and_ends_with_its_code(server, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = forked(PYTHON, [str(taken.getsockname()[1]), "--bind", "127.0.0.1"], ENVIRONMENT)
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert "Address already in use" in done.stdout


def test_whoever_asks_with_a_longer_path_is_served(server):
    longer = ENVIRONMENT | {"PATH": f"/stage/bin:{ENVIRONMENT['PATH']}"}
    assert forked(PYTHON, ["1"], longer) is not None


def test_another_environment_or_no_fork_server_is_a_process_of_its_own(server, monkeypatch):
    assert forked(PYTHON, [], ENVIRONMENT)[3] == str(CLIENT)
    assert forked(Path("/another/bin/python"), [], ENVIRONMENT) is None
    assert forked(PYTHON, [], ENVIRONMENT | {"OMP_NUM_THREADS": "1"}) is None
    monkeypatch.delenv(FOLDER)
    assert forked(PYTHON, [], ENVIRONMENT) is None
