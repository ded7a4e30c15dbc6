"""Slots whose model servers stand behind URLs. Host and gateway are real; stand-ins are what the platform runs."""

import threading

import pytest

from tasks.core.errors import DataContractError
from tasks.serving import control
from tests.contract.hosts import BODY, CHAT, STREAMED, server_pids, until
from tests.contract.rollouts import Crowd, decide_quickly, phase
from tests.contract.upstreams import Upstream, version

TOKEN = "upstream-token-of-the-test"


@pytest.fixture
def two(project, tmp_path, free_ports, monkeypatch):
    """Two addresses at which nothing serves yet."""
    found = [Upstream(tmp_path / "platform", port) for port in free_ports(2)]
    monkeypatch.setenv("TUNEGATE_UPSTREAMS", "|".join(one.url for one in found))
    try:
        yield found
    finally:
        control.stop_host(project.project)
        for one in found:
            one.kill()


def deploy(project, number: str, **facts: object) -> list[str]:
    lines: list[str] = []
    control.ensure_host(project.project)
    control.deploy(project.project, version(number, **facts), on_progress=lines.append)
    return lines


def status(project) -> dict:
    return control.host_status(project.project)


def asked(project, key: str, body: dict = BODY):
    with project.client(key) as client:
        return client.post(CHAT, json=body)


def ready(project) -> int:
    with project.client(None) as client:
        return client.get("/readyz").status_code


class TestSwitch:
    @pytest.mark.slow
    def test_versions_are_found_by_name_and_switched_with_a_token(self, project, two, monkeypatch):
        blue, green = two
        monkeypatch.setenv("TUNEGATE_UPSTREAM_TOKEN", TOKEN)
        blue.serve("1", token=TOKEN)
        # Beside other models, as a router has them.
        green.serve("2", token=TOKEN, beside=["another-team"])
        assert any("smoke test" in line for line in deploy(project, "1"))
        assert (status(project)["version"], status(project)["upstream"]) == ("1", blue.url)
        key = project.key("a")
        answer = asked(project, key, BODY | {"messages": [{"role": "user", "content": "show the headers"}]})
        assert (answer.status_code, answer.headers["x-tunegate-version"]) == (200, "1")
        # The upstream got the platform's token, never the caller's key.
        assert f"Bearer {TOKEN}" in answer.text
        assert key not in answer.text
        deploy(project, "2")
        assert status(project)["upstream"] == green.url
        deploy(project, "1")
        assert (status(project)["version"], status(project)["upstream"]) == ("1", blue.url)
        # Nothing was started here, and what was left goes on at its address.
        assert server_pids(project) == []
        assert blue.answers()
        assert green.answers()

    @pytest.mark.slow
    def test_what_is_not_the_version_is_refused_and_the_old_one_serves_on(self, project, two):
        blue, green = two
        blue.serve("1")
        deploy(project, "1")
        for error, said, behaviour in (
            (DataContractError, "no upstream serves tg-2.* serves tg-9", {"name": "tg-9"}),
            (DataContractError, "other weights", {"token_ids": [9, 9, 9]}),
            (DataContractError, "64 tokens of context", {"context": 64}),
            (DataContractError, "empty answer", {"answer": ""}),
        ):
            green.serve("2", **behaviour)
            with pytest.raises(error, match=said):
                deploy(project, "2")
            assert (status(project)["version"], status(project)["healthy"]) == ("1", True)
        assert asked(project, project.key("a")).status_code == 200

    @pytest.mark.slow
    def test_a_version_without_a_fingerprint_is_refused(self, project, two):
        two[0].serve("1")
        two[1].serve("2")
        control.ensure_host(project.project)
        with pytest.raises(DataContractError, match="has no fingerprint"):
            project.deploy("1")

    @pytest.mark.slow
    def test_a_version_that_the_platform_is_bringing_up_is_waited_for(self, project, two):
        blue, green = two
        blue.serve("1")
        green.serve("2", start_s=2, wait=False)
        deploy(project, "1")
        deploy(project, "2")
        assert status(project)["upstream"] == green.url

    @pytest.mark.slow
    def test_a_request_under_way_ends_on_the_version_it_began_on(self, project, two):
        blue, green = two
        blue.serve("1", token_s=0.3, answer="a b c d e f g h")
        green.serve("2")
        deploy(project, "1")
        with project.client(project.key("a")) as client, client.stream("POST", CHAT, json=STREAMED) as answer:
            lines = answer.iter_lines()
            next(lines)
            swap = threading.Thread(target=deploy, args=(project, "2"))
            swap.start()
            rest = [line for line in lines if line]
            swap.join()
        assert rest[-1] == "data: [DONE]"
        assert answer.headers["x-tunegate-version"] == "1"


class TestLoss:
    @pytest.mark.slow
    def test_a_dead_upstream_is_503_and_not_ready_until_it_is_back(self, project, two):
        blue, green = two
        blue.serve("1")
        green.serve("0")
        deploy(project, "1")
        until(lambda: ready(project) == 200)  # the word lists of the log are read as well
        key = project.key("a")
        blue.kill()
        lost = asked(project, key)
        assert (lost.status_code, lost.json()["error"]["code"]) == (503, "upstream_lost")
        assert int(lost.headers["Retry-After"]) > 0
        until(lambda: ready(project) == 503)
        gone = asked(project, key)
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "not_served")
        assert int(gone.headers["Retry-After"]) > 0
        blue.serve("1")
        until(lambda: ready(project) == 200, timeout_s=20)
        assert asked(project, key).headers["x-tunegate-version"] == "1"
        # Another version that is there is not a reason to go back by itself.
        assert status(project)["given_up"] == {}

    @pytest.mark.slow
    def test_another_model_under_the_same_url_is_not_asked(self, project, two):
        blue, green = two
        blue.serve("1")
        green.serve("0")
        deploy(project, "1")
        blue.serve("7")
        wrong = asked(project, project.key("a"))
        assert wrong.status_code in (200, 503)
        until(lambda: ready(project) == 503)
        assert asked(project, project.key("b")).json()["error"]["code"] == "not_served"

    @pytest.mark.slow
    def test_a_stream_whose_upstream_dies_ends_in_an_error_event(self, project, two):
        blue, green = two
        blue.serve("1", token_s=0.1)
        green.serve("0")
        deploy(project, "1")
        body = STREAMED | {"messages": [{"role": "user", "content": "a slow answer"}]}
        with project.client(project.key("a")) as client, client.stream("POST", CHAT, json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            blue.kill()
            rest = [line for line in lines if line]
        assert '"upstream_lost"' in rest[-1]
        assert "[DONE]" not in rest[-1]

    @pytest.mark.slow
    def test_a_killed_host_finds_its_version_again_wherever_it_is(self, project, two):
        blue, green = two
        blue.serve("1")
        green.serve("2")
        deploy(project, "1")
        deploy(project, "2")
        project.kill_host()
        # The platform has moved it meanwhile.
        green.serve("1")
        blue.serve("2")
        control.ensure_host(project.project)
        until(lambda: status(project)["healthy"], timeout_s=20)
        assert (status(project)["version"], status(project)["upstream"]) == ("2", blue.url)


class TestRollout:
    @pytest.mark.slow
    @pytest.mark.parametrize("strategy", ["canary", "shadow"])
    def test_a_candidate_behind_a_url_gets_its_share_and_all_of_it(self, project, two, strategy):
        decide_quickly(project)
        blue, green = two
        blue.serve("1")
        green.serve("2")
        deploy(project, "1")
        with Crowd(project) as crowd:
            control.begin_rollout(project.project, version("2", by="王工", reason="第二版"), strategy)
            until(lambda: phase(project) != "running", timeout_s=50)
        assert phase(project) == "promoted"
        assert set(crowd.statuses) == {200}
        assert status(project)["upstream"] == green.url

    @pytest.mark.slow
    def test_a_candidate_that_dies_is_taken_back(self, project, two):
        blue, green = two
        blue.serve("1")
        green.serve("2")
        deploy(project, "1")
        control.begin_rollout(project.project, version("2"), "canary")
        green.kill()
        until(lambda: phase(project) == "aborted", timeout_s=15)
        assert asked(project, project.key("a")).headers["x-tunegate-version"] == "1"
