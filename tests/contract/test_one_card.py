"""Where only one version fits: requests wait while it takes the other's place; one that fails gives it back."""

import threading
import time

import pytest
import yaml

from tasks.core.errors import ConfigError, TransientError
from tasks.serving import control
from tasks.serving.paths import host_log
from tests.contract.hosts import BODY, CHAT, server_pids, until
from tests.contract.rollouts import Crowd


def hold(project, hold_s: float, swap: str = "hold", soak_s: float = 0.0) -> None:
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params["serve"] |= {"swap": swap, "hold_s": hold_s}
    params["promote"] |= {"soak_s": soak_s}
    path.write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    control.ensure_host(project.project)
    project.deploy("1")


def servers_seen(project, over: threading.Event, seen: list[int]) -> None:
    while not over.wait(0.02):
        seen.append(len(server_pids(project)))


@pytest.mark.slow
def test_requests_wait_and_there_are_never_two_servers(project):
    hold(project, 30.0)
    over, seen = threading.Event(), []
    watching = threading.Thread(target=servers_seen, args=(project, over, seen))
    watching.start()
    with Crowd(project) as crowd:
        until(lambda: crowd.versions["1"] > 10)
        lines = project.deploy("2", start_s=1.0)
        until(lambda: crowd.versions["2"] > 10)
    over.set()
    watching.join()
    assert any("requests are held" in line for line in lines)
    assert set(crowd.statuses) == {200}
    assert crowd.torn == 0
    assert max(seen) == 1
    status = control.host_status(project.project)
    assert (status["version"], status["wanted"], status["holding"]) == ("2", "2", False)


@pytest.mark.slow
def test_a_version_that_fails_gives_its_place_back_and_nobody_notices(project):
    hold(project, 30.0)
    with Crowd(project) as crowd:
        until(lambda: crowd.versions["1"] > 10)
        with pytest.raises(TransientError, match="Available memory is less"):
            project.deploy("2", crash=True)
    assert set(crowd.statuses) == {200}
    assert set(crowd.versions) == {"1"}
    status = control.host_status(project.project)
    assert (status["version"], status["wanted"], status["healthy"]) == ("1", "1", True)


@pytest.mark.slow
def test_who_waits_too_long_is_told_when_to_come_back(project):
    hold(project, 0.5)
    swap = threading.Thread(target=project.deploy, args=("2",), kwargs={"start_s": 4.0})
    swap.start()
    until(lambda: control.host_status(project.project)["holding"])
    with project.client(project.key("a")) as client:
        until(lambda: client.get("/healthz").status_code == 200)
        begun = time.monotonic()
        refused = client.post(CHAT, json=BODY)
        assert 0.5 <= time.monotonic() - begun < 3
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_served")
        assert int(refused.headers["Retry-After"]) > 0
        swap.join()
        assert client.post(CHAT, json=BODY).headers["x-tunegate-version"] == "2"


@pytest.mark.slow
def test_an_asker_who_leaves_brings_the_old_one_back(project):
    hold(project, 30.0)

    def leave(line: str) -> None:
        if "starting version 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        control.deploy(project.project, project.deployment("2", start_s=5), on_progress=leave)
    with project.client(project.key("a")) as client:
        assert client.post(CHAT, json=BODY).headers["x-tunegate-version"] == "1"
    until(lambda: control.host_status(project.project)["deploying"] is None)
    assert control.host_status(project.project)["healthy"] is True


@pytest.mark.slow
def test_what_needs_two_places_is_refused_by_name(project):
    hold(project, 30.0)
    second = project.deployment("2")
    with pytest.raises(ConfigError, match="one version at a time"):
        control.begin_rollout(project.project, second, "canary")
    with pytest.raises(ConfigError, match="one version at a time"):
        control.rehearse(project.project, second)
    assert control.host_status(project.project)["version"] == "1"


@pytest.mark.slow
def test_stop_in_the_middle_leaves_nothing_behind(project):
    hold(project, 30.0)
    failed = []

    def swap() -> None:
        with pytest.raises(TransientError) as caught:
            project.deploy("2", start_s=6.0)
        failed.append(caught)

    asking = threading.Thread(target=swap)
    asking.start()
    until(lambda: control.host_status(project.project)["holding"])
    control.stop_host(project.project)
    asking.join()
    assert failed
    until(lambda: not server_pids(project))


@pytest.fixture
def with_cuda(monkeypatch):
    """The stand-in says that it is a CUDA build."""
    monkeypatch.setenv("STAND_IN_CUDA", "13.0")


@pytest.mark.slow
@pytest.mark.usefixtures("with_cuda")
class TestSleep:
    """The routes of vLLM's sleep mode as 0.32 has them, at a stand-in; at a real vLLM: tests/gpu."""

    def test_a_version_that_fails_wakes_the_old_one_which_loads_nothing(self, project):
        hold(project, 30.0, "sleep")
        before = server_pids(project)
        with Crowd(project) as crowd:
            until(lambda: crowd.versions["1"] > 10)
            with pytest.raises(TransientError, match="Available memory is less"):
                project.deploy("2", crash=True)
            until(lambda: crowd.versions["1"] > 20)
        assert server_pids(project) == before
        assert set(crowd.statuses) == {200}
        assert control.host_status(project.project)["healthy"] is True

    def test_going_back_wakes_what_sleeps_and_after_its_time_it_is_stopped(self, project):
        hold(project, 30.0, "sleep", soak_s=6.0)
        first = server_pids(project)
        project.deploy("2")
        assert set(first) < set(server_pids(project))
        lines = project.deploy("1")
        assert any("awake again" in line for line in lines)
        assert not any("starting version" in line for line in lines)
        with project.client(project.key("a")) as client:
            assert client.post(CHAT, json=BODY).headers["x-tunegate-version"] == "1"
            assert client.post("/sleep?level=1").status_code == 404
            assert client.post("/wake_up").status_code == 404
        until(lambda: server_pids(project) == first, 15)

    def test_a_third_version_stops_the_one_that_sleeps(self, project):
        hold(project, 30.0, "sleep", soak_s=60.0)
        first = server_pids(project)
        project.deploy("2")
        project.deploy("3")
        assert not set(first) & set(server_pids(project))
        assert control.host_status(project.project)["version"] == "3"

    @pytest.mark.parametrize(("fault", "told"), [({"sleeps_badly": True}, "does not sleep"),
                                                 ({"wakes_badly": True}, "does not wake")])  # fmt: skip
    def test_one_that_does_not_sleep_or_wake_is_loaded_again(self, project, fault, told):
        hold(project, 30.0, "sleep")
        project.deploy("old", **fault)
        with pytest.raises(TransientError, match="Available memory is less"):
            project.deploy("2", crash=True)
        status = control.host_status(project.project)
        assert (status["version"], status["healthy"]) == ("old", True)
        assert told in host_log(project.project).read_text("utf-8")

    def test_an_asker_who_leaves_wakes_the_old_one(self, project):
        hold(project, 30.0, "sleep")
        before = server_pids(project)

        def leave(line: str) -> None:
            if "starting version 2" in line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            control.deploy(project.project, project.deployment("2", start_s=5), on_progress=leave)
        until(lambda: control.host_status(project.project)["deploying"] is None)
        assert server_pids(project) == before
        with project.client(project.key("a")) as client:
            assert client.post(CHAT, json=BODY).headers["x-tunegate-version"] == "1"


@pytest.mark.slow
def test_without_cuda_sleep_is_refused_by_name(project):
    with pytest.raises(ConfigError, match="not supported on current platform"):
        hold(project, 30.0, "sleep")
