"""`tunegate top` on a real gateway, and what is made of two readings."""

import json
import time

import httpx
import pytest

from tasks.core.project import Project
from tasks.serving.alarms import record_alarms
from tasks.serving.snapshot import Reading, between, last_alarms
from tests.contract.hosts import BODY, CHAT, STREAMED

TOKENS = "tunegate_tokens_total"


def reading(at: float, **tokens: float) -> Reading:
    return Reading(at, {(TOKENS, (("key", key), ("kind", "completion"))): value for key, value in tokens.items()})


def test_rates_are_growth_a_second_and_a_gateway_that_started_anew_counts_from_nothing():
    found = between(reading(0.0, desk=100, night=50), reading(2.0, desk=160, night=3, new=8))
    assert found["keys"] == {"desk": 30.0, "night": 0.0, "new": 4.0}
    assert found["tokens_per_s"] == {"completion": 10.5}
    assert found["first_token_p95_s"] is None


def test_the_last_alarms_are_warnings_and_errors_alone(tmp_path):
    project = Project(tmp_path)
    assert last_alarms(project, 3) == []
    path = project.state / "serving" / "host.log"
    path.parent.mkdir(parents=True)
    lines = [f"10:00:0{n} {level:<7} line {n}" for n, level in enumerate(("INFO", "WARNING", "ERROR", "INFO"))]
    path.write_text("\n".join([*lines, "Traceback (most recent call last):", ""]), "utf-8")
    assert last_alarms(project, 3) == [lines[1], lines[2]]
    assert last_alarms(project, 1) == [lines[2]]
    # Alarms of `tunegate monitor` are not pushed out by a host that warns a lot.
    record_alarms(project, [{"time": f"t{n}", "kind": "released", "what": f"alarm {n}"} for n in range(3)])
    assert last_alarms(project, 2) == ["t2 ALARM released: alarm 2", lines[2]]


@pytest.mark.slow
def test_top_of_a_gateway_at_work(started):
    started.deploy("1", token_s=0.01)
    key = started.key("desk")
    process = started.start_command("top", "--once", "--json", "--every", "4")
    deadline = time.monotonic() + 8
    with started.client(key) as client:
        while process.poll() is None and time.monotonic() < deadline:
            client.post(CHAT, json=BODY)
            client.post(CHAT, json=STREAMED)
            httpx.post(f"{started.project.gateway_url}{CHAT}", json=BODY)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["status"]["version"] == "1"
    assert set(found["in_flight"]) == {"blue", "green"}
    assert found["requests_per_s"]["ok"] > 0
    assert found["requests_per_s"]["refused:missing_key"] > 0
    assert found["keys"]["desk"] > 0
    assert found["first_token_p95_s"] > 0
    text = started.command("top", "--every", "0.2").stdout
    assert "version 1 in slot blue works" in text
    assert "requests a second" in text
    assert "last alarms" in text


def test_top_where_nothing_is_served_says_what_to_do(project):
    done = project.command("top")
    assert done.returncode == 2
    assert "nothing is served here" in done.stderr
    assert "tunegate serve" in done.stderr
