"""A host that loses its servers, its life or its terminal comes back by itself. A stand-in is the vLLM executable."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tasks.core.errors import TransientError
from tasks.serving import control
from tests.contract.hosts import BODY, CHAT, STREAMED, audit_records, processes_of, server_pids, until

TUNEGATE = Path(sys.executable).with_name("tunegate")


class TestSoak:
    @pytest.fixture
    def soaking(self, project):
        params = project.root / "params.yaml"
        settings = yaml.safe_load(params.read_text("utf-8"))
        settings["promote"]["soak_s"] = 60.0
        params.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
        control.ensure_host(project.project)
        return project

    @pytest.mark.slow
    def test_going_back_within_the_soak_starts_nothing(self, soaking):
        soaking.deploy("1")
        soaking.deploy("2")
        pids = server_pids(soaking)
        assert len(pids) == 2
        lines = soaking.deploy("1")
        assert any("still warm" in line for line in lines)
        assert not any("starting version" in line for line in lines)
        assert server_pids(soaking) == pids
        assert control.host_status(soaking.project)["version"] == "1"

    @pytest.mark.slow
    def test_a_third_version_takes_the_warm_slot(self, soaking):
        for version in ("1", "2", "3"):
            soaking.deploy(version)
        assert control.host_status(soaking.project)["version"] == "3"
        assert len(server_pids(soaking)) == 2

    @pytest.mark.slow
    def test_stop_ends_the_warm_one_too(self, soaking):
        soaking.deploy("1")
        soaking.deploy("2")
        control.stop_host(soaking.project)
        until(lambda: not processes_of(soaking))


class TestLostServer:
    @pytest.mark.slow
    def test_a_dead_server_comes_back_by_itself_and_what_it_was_asked_is_answered(self, started):
        started.deploy("1", start_s=1, token_s=0.2)
        with started.client(started.key("a")) as client, ThreadPoolExecutor() as pool:
            under_way = pool.submit(client.post, CHAT, json=BODY)
            until(lambda: control.host_status(started.project)["in_flight"])
            for pid in server_pids(started):
                os.kill(pid, signal.SIGKILL)
            # While its keeper ends it, while nothing is live, while it starts: whoever asks now waits.
            assert [client.post(CHAT, json=BODY).status_code for _ in range(2)] == [200, 200]
            assert under_way.result().status_code == 200
        until(lambda: sum(one["kind"] == "answer" for one in audit_records(started)) == 3)
        records = audit_records(started)
        asked = [one["request_id"] for one in records if one["kind"] == "request"]
        answered = {one["request_id"]: one for one in records if one["kind"] == "answer"}
        assert len(asked) == len(answered) == 3
        assert {one["status"] for one in answered.values()} == {200}
        # The one that was asked twice says who answered; the others need not.
        assert (answered[asked[0]]["version"], "version" in answered[asked[2]]) == ("1", False)
        status = control.host_status(started.project)
        assert (status["version"], status["healthy"]) == ("1", True)
        until(lambda: control.host_status(started.project)["recovering"] is False)

    @pytest.mark.slow
    def test_a_deployment_of_what_is_being_brought_up_waits_for_it(self, started):
        started.deploy("1", start_s=2)
        for pid in server_pids(started):
            os.kill(pid, signal.SIGKILL)
        until(lambda: control.host_status(started.project)["deploying"] == "1", timeout_s=20)
        assert "already" in started.deploy("1", start_s=2)[-1]
        assert len(server_pids(started)) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("fault", ["die_after", "error_after", "abort_after"])
    def test_lost_in_the_middle_of_a_stream_is_an_error_event_not_a_short_answer(self, started, fault):
        """vLLM whose engine dies says so in the stream, in words of its own, and ends it like a whole one; one that is
        told to stop calls that a reason to finish.
        """
        started.deploy("1")
        started.deploy("2", token_s=0.05, **{fault: 3})
        with started.client(started.key("a")) as client:
            text = client.post(CHAT, json=BODY | {"stream": True}).text
        assert "[DONE]" not in text
        assert "secret" not in text
        until(lambda: any(one.get("status") == 503 for one in audit_records(started)))
        assert json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "upstream_lost"

    @pytest.mark.slow
    def test_a_whole_answer_that_was_broken_off_is_no_answer(self, started):
        started.deploy("1")
        with started.client(started.key("a")) as client:
            refused = client.post(CHAT, json=BODY | {"seed": 2})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_lost")

    @pytest.mark.slow
    def test_a_caller_who_leaves_frees_the_server(self, started):
        started.deploy("1", token_s=0.2, answer="a b c d e f g h i j")
        with started.client(started.key("a")) as client, client.stream("POST", CHAT, json=STREAMED) as r:
            next(r.iter_lines())
        until((started.root / "weights" / "1.aborted").exists)
        until(lambda: any(record.get("status") == 499 for record in audit_records(started)))
        assert control.host_status(started.project)["in_flight"] == 0


class TestServeInTheForeground:
    @pytest.fixture
    def serving(self, project):
        with subprocess.Popen(
            [TUNEGATE, "serve"], stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
        ) as process:
            until(lambda: control.host_status(project.project) is not None, timeout_s=30)
            yield process
            process.kill()
        until(lambda: not processes_of(project), timeout_s=30)

    @pytest.mark.parametrize(
        "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"]
    )
    def test_says_what_to_do_next_and_a_signal_stops_everything(self, project, serving, number):
        project.deploy("1")
        until(lambda: "no champion" in "".join(iter_until(serving.stderr, "reconcile:")), timeout_s=60)
        serving.send_signal(number)
        assert serving.wait(30) == 0
        assert control.host_status(project.project) is None
        assert not processes_of(project)

    @pytest.mark.slow
    def test_sigterm_lets_streams_finish_on_both_slots(self, project, serving):
        project.deploy("1", token_s=0.3, answer="a b c d e f g h")
        with project.client(project.key("a")) as client, client.stream("POST", CHAT, json=STREAMED) as first:
            lines = first.iter_lines()
            next(lines)
            swap = threading.Thread(
                target=project.deploy, args=("2",), kwargs={"token_s": 0.3, "answer": "a b c d e f"}
            )
            swap.start()
            until(lambda: control.host_status(project.project)["version"] == "2")
            with client.stream("POST", CHAT, json=STREAMED) as second:
                others = second.iter_lines()
                next(others)
                serving.send_signal(signal.SIGTERM)
                assert [line for line in lines if line][-1] == "data: [DONE]"
                assert [line for line in others if line][-1] == "data: [DONE]"
            swap.join()
        assert serving.wait(30) == 0

    @pytest.mark.slow
    def test_a_killed_host_is_started_again_and_serves_what_it_served(self, project, serving):
        project.deploy("1")
        before = control.host_status(project.project)["host_pid"]
        project.kill_host()

        def another() -> bool:
            with contextlib.suppress(TransientError):  # asked in the moment of its death
                status = control.host_status(project.project)
                return bool(status and status["host_pid"] != before and status["healthy"])
            return False

        until(another, timeout_s=40)
        assert control.host_status(project.project)["version"] == "1"
        control.stop_host(project.project)
        assert serving.wait(60) == 0

    @pytest.mark.slow
    def test_restarts_are_counted_for_one_trouble_and_not_for_life(self, project):
        """One restart is allowed here, and two seconds are a healthy life."""
        with subprocess.Popen([sys.executable, "-c", ONE_RESTART], stderr=subprocess.PIPE, text=True) as process:
            before = None
            for healthy_s in (3.0, 3.0, 3.0, 0.0):
                until(lambda: running_host(project) not in (None, before), timeout_s=30)  # noqa: B023
                before = running_host(project)
                time.sleep(healthy_s)
                os.kill(before, signal.SIGKILL)
            assert process.wait(30) == TransientError.exit_code
            said = process.stderr.read()
        assert said.count("it is started again") == 3
        assert "ended again and again" in said

    @pytest.mark.slow
    def test_a_killed_serve_takes_host_and_servers_with_it(self, project, serving):
        project.deploy("1")
        serving.kill()
        serving.wait()
        until(lambda: not processes_of(project), timeout_s=30)

    @pytest.mark.slow
    def test_stop_from_another_terminal_ends_it(self, project, serving):
        assert control.stop_host(project.project) is True
        assert serving.wait(60) == 0


ONE_RESTART = """
from tasks.cli import main, serve
serve.RESTARTS_AFTER_S, serve.HEALTHY_AFTER_S = (0.2,), 2.0
main.sys.argv = ["tunegate", "serve"]
main.main()
"""


def running_host(project) -> int | None:
    """Return the process of the host that answers, if one does."""
    with contextlib.suppress(TransientError):
        status = control.host_status(project.project)
        return status and status["host_pid"]
    return None


def hears_ctrl_c() -> None:
    """Undo what a shell does to commands it starts in the background, CI's among them: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def iter_until(stream, word: str) -> list[str]:
    """Read lines up to the first that holds a word."""
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            break
    return lines
