"""The host process: swaps, failures, control socket, audit trouble. A stand-in takes the vLLM executable's place."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tasks.core.errors import DataContractError, MissingToolError, TransientError
from tasks.engine.deployment import Deployment
from tasks.serving import control
from tasks.serving.audit import verify
from tasks.serving.paths import audit_folder, control_socket, serving_folder

TUNEGATE = Path(sys.executable).with_name("tunegate")
CHAT = "/v1/chat/completions"
BODY = {"model": "champion", "messages": [{"role": "user", "content": "碘片什么时候服用？"}]}
STREAMED = BODY | {"stream": True}


def until(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(project) -> list[int]:
    """Return the processes that belong to a project: its path stands in their command line or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and str(project.root).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.fixture
def started(project):
    assert control.ensure_host(project.project) is True
    return project


class TestStatus:
    def test_none_without_a_host(self, project):
        assert control.host_status(project.project) is None
        assert control.stop_host(project.project) is False

    def test_nothing_deployed(self, started):
        status = control.host_status(started.project)
        assert (status["slot"], status["version"], status["lineage_id"]) == (None, None, None)
        assert status["healthy"] is False
        assert control.ensure_host(started.project) is False
        with started.client(started.key("a")) as client:
            response = client.post(CHAT, json=BODY)
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "not_served"
            assert int(response.headers["Retry-After"]) > 0
            assert client.get("/healthz").status_code == 503

    def test_deployed(self, started):
        lines = started.deploy("1")
        assert any("smoke test" in line for line in lines)
        status = control.host_status(started.project)
        assert (status["slot"], status["version"], status["lineage_id"]) == ("blue", "1", "tg-1")
        assert status["healthy"] is True
        assert status["url"] == started.project.gateway_url


class TestSwap:
    def test_no_request_is_dropped_under_load(self, started):
        started.deploy("1", token_s=0.01)
        results = asyncio.run(load_during(started, lambda: started.deploy("2", token_s=0.01)))
        assert {status for status, _ in results} == {200}
        assert {version for _, version in results} == {"1", "2"}
        assert len(results) > 50
        assert control.host_status(started.project)["slot"] == "green"

    @pytest.mark.slow
    def test_a_stream_under_way_finishes_on_the_old_version(self, started):
        started.deploy("1", token_s=0.3, answer="a b c d e f g h")
        with (
            started.client(started.key("slow")) as client,
            client.stream("POST", CHAT, json=BODY | {"stream": True}) as r,
        ):
            lines = r.iter_lines()
            next(lines)
            swap = threading.Thread(target=started.deploy, args=("2",))
            swap.start()
            rest = [line for line in lines if line]
            swap.join()
        assert rest[-1] == "data: [DONE]"
        assert r.headers["x-tunegate-version"] == "1"
        assert control.host_status(started.project)["version"] == "2"

    def test_the_same_version_again_changes_nothing(self, started):
        started.deploy("1")
        assert "already" in started.deploy("1")[-1]
        assert control.host_status(started.project)["slot"] == "blue"

    def test_back_and_forth(self, started):
        for version, slot in (("1", "blue"), ("2", "green"), ("1", "blue")):
            started.deploy(version)
            assert control.host_status(started.project)["slot"] == slot
        assert len(server_pids(started)) == 1

    @pytest.mark.parametrize(("behaviour", "error", "words"), [
        ({"crash": True}, TransientError, "Available memory is less than asked"),
        ({"name": "another-model"}, DataContractError, "another-model"),
        ({"answer": ""}, DataContractError, "empty answer"),
        ({"finish_reason": "abort"}, DataContractError, "abort"),
        pytest.param({"start_s": 60}, TransientError, "not ready after 8 s", marks=pytest.mark.slow),
    ], ids=["crash", "wrong name", "empty answer", "odd ending", "too slow"])  # fmt: skip
    def test_a_bad_version_leaves_the_old_one_serving(self, started, behaviour, error, words):
        started.deploy("1")
        with pytest.raises(error, match=words):
            started.deploy("2", **behaviour)
        status = control.host_status(started.project)
        assert (status["version"], status["slot"], status["healthy"]) == ("1", "blue", True)
        with started.client(started.key("a")) as client:
            assert client.post(CHAT, json=BODY).status_code == 200

    def test_an_unsafe_model_is_not_started(self, started):
        (started.model("evil") / "pytorch_model.bin").write_bytes(b"\x80")
        with pytest.raises(DataContractError, match=r"pytorch_model\.bin"):
            started.deploy("evil")
        assert control.host_status(started.project)["version"] is None

    def test_a_second_deployment_at_the_same_time_is_refused(self, started):
        first = threading.Thread(target=started.deploy, args=("1",), kwargs={"start_s": 2})
        first.start()
        until(lambda: control.host_status(started.project)["deploying"])
        with pytest.raises(TransientError, match="under way"):
            started.deploy("2")
        first.join()
        assert control.host_status(started.project)["version"] == "1"

    def test_a_deployment_ends_when_the_asker_leaves_before_the_switch(self, started):
        started.deploy("1")
        wanted = Deployment("2", "tg-2", started.model("2", start_s=3))
        with pytest.raises(KeyboardInterrupt):
            control.deploy(started.project, wanted, on_progress=_interrupt)
        until(lambda: control.host_status(started.project)["deploying"] is None)
        status = control.host_status(started.project)
        assert (status["version"], status["wanted"], status["healthy"]) == ("1", "1", True)
        until(lambda: len(server_pids(started)) == 1)

    def test_a_start_is_ended_by_anybody_and_the_slot_is_free_again(self, started):
        started.deploy("1")
        failed = []

        def ask():
            with pytest.raises(TransientError, match="was ended") as caught:
                started.deploy("2", start_s=7)
            failed.append(caught.value)

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: control.host_status(started.project)["deploying"] == "2")
        begun = time.monotonic()
        assert control.abort_deployment(started.project) is True
        asking.join()
        assert time.monotonic() - begun < 5
        assert failed
        started.deploy("3")
        assert control.abort_deployment(started.project) is False
        assert control.host_status(started.project)["version"] == "3"

    def test_a_rehearsal_touches_nothing_live(self, started):
        started.deploy("1")
        pids = server_pids(started)
        seconds = control.rehearse(started.project, Deployment("2", "tg-2", started.model("2")))
        assert seconds > 0
        with pytest.raises(DataContractError, match="empty answer"):
            control.rehearse(started.project, Deployment("3", "tg-3", started.model("3", answer="")))
        until(lambda: server_pids(started) == pids)
        status = control.host_status(started.project)
        assert (status["version"], status["wanted"], status["previous"]) == ("1", "1", [])


class TestSoak:
    @pytest.fixture
    def soaking(self, project):
        params = project.root / "params.yaml"
        settings = yaml.safe_load(params.read_text("utf-8"))
        settings["promote"]["soak_s"] = 60.0
        params.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
        control.ensure_host(project.project)
        return project

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

    def test_a_third_version_takes_the_warm_slot(self, soaking):
        for version in ("1", "2", "3"):
            soaking.deploy(version)
        assert control.host_status(soaking.project)["version"] == "3"
        assert len(server_pids(soaking)) == 2

    def test_stop_ends_the_warm_one_too(self, soaking):
        soaking.deploy("1")
        soaking.deploy("2")
        control.stop_host(soaking.project)
        until(lambda: not processes_of(soaking))


def _interrupt(line: str) -> None:
    raise KeyboardInterrupt


async def load_during(project, swap) -> list[tuple[int, str]]:
    """Keep eight callers asking, half of them streaming, before, during and after a swap."""
    results: list[tuple[int, str]] = []
    over = asyncio.Event()
    headers = {"Authorization": f"Bearer {project.key('load', requests_per_minute=None)}"}
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(
        base_url=project.project.gateway_url, headers=headers, timeout=30, limits=limits
    ) as client:

        async def caller(stream: bool) -> None:
            while not over.is_set():
                response = await client.post(CHAT, json=BODY | {"stream": stream})
                complete = not stream or response.text.endswith("data: [DONE]\n\n")
                results.append((response.status_code if complete else 0, response.headers["x-tunegate-version"]))
                await asyncio.sleep(0.1)

        callers = [asyncio.create_task(caller(bool(number % 2))) for number in range(8)]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(swap)
        await asyncio.sleep(0.5)
        over.set()
        await asyncio.gather(*callers)
    return results


class TestLostServer:
    def test_a_dead_server_gives_503_and_comes_back_by_itself(self, started):
        started.deploy("1", start_s=1)
        for pid in server_pids(started):
            os.kill(pid, signal.SIGKILL)
        with started.client(started.key("a")) as client:
            until(lambda: client.post(CHAT, json=BODY).status_code == 503)
            until(lambda: client.post(CHAT, json=BODY).status_code == 200, timeout_s=20)
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

    def test_lost_in_the_middle_of_a_stream_is_an_error_event_not_a_short_answer(self, started):
        started.deploy("1")
        started.deploy("2", die_after=3, token_s=0.05)
        with started.client(started.key("a")) as client:
            text = client.post(CHAT, json=BODY | {"stream": True}).text
        assert "[DONE]" not in text
        assert json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "upstream_lost"

    @pytest.mark.slow
    def test_a_caller_who_leaves_frees_the_server(self, started):
        started.deploy("1", token_s=0.2, answer="a b c d e f g h i j")
        with started.client(started.key("a")) as client, client.stream("POST", CHAT, json=STREAMED) as r:
            next(r.iter_lines())
        until((started.root / "weights" / "1.aborted").exists)
        until(lambda: any(record.get("status") == 499 for record in audit_records(started)))
        assert control.host_status(started.project)["in_flight"] == 0


class TestProcesses:
    def test_servers_die_with_a_killed_host_and_its_socket_is_taken_over(self, started):
        started.deploy("1")
        assert server_pids(started)
        started.kill_host()
        until(lambda: not processes_of(started), timeout_s=20)
        assert control_socket(started.project).exists()
        assert control.host_status(started.project) is None
        assert control.ensure_host(started.project) is True
        until(lambda: control.host_status(started.project)["healthy"], timeout_s=20)
        status = control.host_status(started.project)
        assert (status["version"], status["lineage_id"]) == ("1", "tg-1")

    def test_stop_leaves_nothing_behind(self, started):
        started.deploy("1")
        done = started.command("stop")
        assert (done.returncode, done.stdout) == (0, "stopped\n")
        until(lambda: not processes_of(started))
        assert not control_socket(started.project).exists()
        assert started.command("stop").stdout == "nothing was running\n"

    @pytest.mark.slow
    def test_stop_lets_a_stream_finish(self, started):
        started.deploy("1", token_s=0.2, answer="a b c d e f g h")
        with started.client(started.key("a")) as client, client.stream("POST", CHAT, json=STREAMED) as r:
            lines = r.iter_lines()
            next(lines)
            stopping = threading.Thread(target=control.stop_host, args=(started.project,))
            stopping.start()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        stopping.join()

    def test_stop_during_a_deployment_ends_it(self, started):
        first = threading.Thread(target=_deploy_and_be_refused, args=(started,))
        first.start()
        until(lambda: server_pids(started))
        control.stop_host(started.project)
        first.join()
        until(lambda: not processes_of(started))

    def test_a_second_host_says_who_is_running(self, started):
        done = started.command("serve")
        assert done.returncode == 2
        pid = control.host_status(started.project)["host_pid"]
        assert f"process {pid} at {started.project.gateway_url}" in done.stderr

    def test_a_busy_gateway_port_names_the_variable(self, project):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", project.project.gateway_port))
            taken.listen()
            with pytest.raises(MissingToolError, match=r"TUNEGATE_GATEWAY_PORT") as caught:
                control.ensure_host(project.project)
        assert str(project.project.gateway_port) in caught.value.message

    def test_a_busy_slot_port_names_the_variable(self, started):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", started.project.slot_ports["blue"]))
            taken.listen()
            with pytest.raises(MissingToolError, match="TUNEGATE_SLOT_PORT"):
                started.deploy("1")

    def test_the_control_socket_is_for_its_owner_alone(self, started):
        assert stat.S_IMODE(control_socket(started.project).stat().st_mode) == 0o600
        assert stat.S_IMODE(serving_folder(started.project).stat().st_mode) == 0o700


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

    def test_a_killed_serve_takes_host_and_servers_with_it(self, project, serving):
        project.deploy("1")
        serving.kill()
        serving.wait()
        until(lambda: not processes_of(project), timeout_s=30)

    def test_stop_from_another_terminal_ends_it(self, project, serving):
        assert control.stop_host(project.project) is True
        assert serving.wait(60) == 0


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


def test_a_project_deep_in_the_file_system_has_a_control_socket_too(tmp_path, served_project):
    with served_project(tmp_path / ("d" * 90) / ("e" * 90)) as project:
        control.ensure_host(project.project)
        assert control.host_status(project.project)["version"] is None


class TestFullDisk:
    def test_refuses_to_answer_unaudited_and_goes_on_when_there_is_room(self, started):
        started.deploy("1")
        pid = control.host_status(started.project)["host_pid"]
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        with started.client(started.key("a")) as client:
            assert client.post(CHAT, json=BODY).status_code == 200
            # From here on the kernel refuses every byte the host would add to a file, as on a full disk.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
            for body in (BODY, BODY | {"stream": True}):
                refused = client.post(CHAT, json=body)
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "audit_unavailable"
            assert control.host_status(started.project)["audit_healthy"] is False
            assert client.get("/healthz").status_code == 503
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            until(lambda: client.post(CHAT, json=BODY).status_code == 200)
        until(lambda: audit_records(started)[-1]["kind"] == "answer")
        assert verify(audit_folder(started.project))["problems"] == []


def server_pids(project) -> list[int]:
    """Return the stand-in servers (not their keepers)."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(project)}
    return [pid for pid, line in lines.items() if b"stand_in_vllm" in line and b"keeper" not in line]


def audit_records(project) -> list[dict]:
    return [json.loads(line) for path in audit_folder(project.project).glob("*.jsonl")
            for line in path.read_text().splitlines()]  # fmt: skip


def _deploy_and_be_refused(project) -> None:
    with pytest.raises(TransientError):
        project.deploy("1", start_s=15)
