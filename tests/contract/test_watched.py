"""What can be seen of the gateway at work: liveness, readiness, an engine that hangs, what became of requests."""

import re
import time

import httpx
import pytest

from tasks.serving import control
from tasks.serving.paths import keys_path, serving_folder
from tests.contract.hosts import BODY, CHAT, STREAMED, server_pids, until


@pytest.fixture
def probed(tmp_path, served_project):
    """A project whose engine is asked often and given little time."""
    with served_project(tmp_path / "project", probe_every_s=0.2, probe_deadline_s=0.5) as found:
        control.ensure_host(found.project)
        found.deploy("1")
        yield found


def hangs(project, how: str = "idle"):
    """Have the engine of version 1 hang: `idle`, or `busy` with others."""
    path = project.root / "weights" / "1.hangs"
    path.write_text(how)
    return path


def series(project, name: str) -> dict[str, float]:
    """The values of a series by its labels as they stand in the text."""
    with project.client(None) as client:
        text = client.get("/metrics").text
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


@pytest.mark.slow
def test_an_engine_that_hangs_is_not_ready_and_is_replaced(probed):
    before = server_pids(probed)
    path = hangs(probed)
    with probed.client(None) as client:
        until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").json() == {
            "status": "unavailable", "served": True, "engine": False, "audit": True, "loaded": True
        }  # fmt: skip
        assert client.get("/livez").status_code == 200
        assert series(probed, "tunegate_engine_works") == {"": 0.0}
        assert control.host_status(probed.project)["healthy"] is False
        until(lambda: set(server_pids(probed)) - set(before), timeout_s=20)
        path.unlink()
        until(lambda: client.get("/readyz").status_code == 200, timeout_s=20)
        until(lambda: not set(server_pids(probed)) & set(before), timeout_s=20)
    assert "has made no token in" in (serving_folder(probed.project) / "host.log").read_text("utf-8")


@pytest.mark.slow
def test_an_engine_that_is_busy_with_others_is_left_alone(probed):
    before = server_pids(probed)
    path = hangs(probed, "busy")
    deadline = time.monotonic() + 3
    with probed.client(None) as client:
        while time.monotonic() < deadline:
            assert client.get("/readyz").status_code == 200
            time.sleep(0.1)
    path.unlink()
    assert server_pids(probed) == before


def test_every_request_is_counted_by_what_became_of_it(started):
    started.deploy("1", die_after=3, token_s=0.05)
    key = started.key("desk")
    with started.client(None) as stranger:
        assert stranger.post(CHAT, json=BODY).status_code == 401
    with started.client(key) as client:
        assert client.post(CHAT, json=BODY).status_code == 200
        with client.stream("POST", CHAT, json=STREAMED) as left:
            next(left.iter_lines())
        until(lambda: any("caller_left" in labels for labels in series(started, "tunegate_answers_total")))
        client.post(CHAT, json=STREAMED)
    answers = {
        (re.search('key="(.*?)"', labels)[1], re.search('outcome="(.*?)"', labels)[1]): count
        for labels, count in series(started, "tunegate_answers_total").items()
    }
    assert answers == {("desk", "ok"): 1, ("desk", "caller_left"): 1, ("desk", "upstream_lost"): 1}
    assert any('outcome="refused:missing_key"' in labels for labels in series(started, "tunegate_requests_total"))
    aborted = series(started, "tunegate_aborted_streams_total")
    assert sorted(re.search('outcome="(.*?)"', labels)[1] for labels in aborted) == ["caller_left", "upstream_lost"]
    assert series(started, "tunegate_time_to_first_token_seconds_count") == {'version="1"': 2.0}
    assert {labels for labels in series(started, "tunegate_tokens_total") if "completion" in labels} == {
        'key="desk",kind="completion",version="1"'
    }


@pytest.mark.slow
def test_the_time_between_tokens_of_a_stream(started):
    started.deploy("1", token_s=0.05)
    with started.client(started.key("desk")) as client:
        # The first request of a host waits for the audit log to load its word lists.
        client.post(CHAT, json=BODY)
        client.post(CHAT, json=STREAMED)
    (mean,) = series(started, "tunegate_inter_token_seconds_sum").values()
    assert 0.03 < mean < 0.5


@pytest.mark.slow
def test_an_error_nobody_foresaw_is_a_500_in_openais_shape(started):
    started.deploy("1")
    with started.client(started.key("desk")) as client:
        path = keys_path(started.project)
        whole = path.read_text()
        path.write_text("{")
        response: httpx.Response = client.post(CHAT, json=BODY)
        assert response.status_code == 500
        error = response.json()["error"]
        assert error["code"] == "internal"
        assert response.headers["x-request-id"] in error["message"]
        path.write_text(whole)
        assert client.post(CHAT, json=BODY).status_code == 200
    assert any('outcome="internal"' in labels for labels in series(started, "tunegate_requests_total"))
    assert response.headers["x-request-id"] in (serving_folder(started.project) / "host.log").read_text("utf-8")
