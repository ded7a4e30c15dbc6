"""What a newcomer does, in order, on a fresh clone. Every test needs the ones above it."""

import json
import re
import subprocess
import threading
import time

import pytest

from tasks.core.manifest import verify_manifest
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.release.registry import Registry
from tasks.stages.table import STAGES

pytestmark = pytest.mark.e2e
REPORTS = ("data/reports/gate/verdict.json", "data/reports/dossier/index.html", "data/prepared/ledger.jsonl")


@pytest.fixture(scope="module")
def demo(clone) -> subprocess.CompletedProcess[str]:
    return clone.run("make", "demo", timeout_s=3600)


def test_make_demo_goes_from_data_to_an_answer(clone, demo):
    said = demo.stdout + demo.stderr
    print(said[-4000:])
    assert "verdict PASS (demo" in demo.stdout
    assert len(re.findall(r"^answer  .{5,}", demo.stdout, re.MULTILINE)) == 2
    assert [stage.name for stage in STAGES if not (clone.root / stage.output / "manifest.json").is_file()] == []
    assert [path for path in REPORTS if not (clone.root / path).is_file()] == []
    for stage in STAGES:
        assert verify_manifest(clone.root / stage.output)["stage"] == stage.name


def test_nothing_is_left_running(clone, demo):
    assert (
        str(clone.root) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    )
    status = json.loads(clone.tunegate("status", "--json").stdout)
    assert status["champion"]["version"] == "1"
    assert status["serving"] is None


def test_same_items_at_every_hop(clone, demo):
    items = {}
    for hop in ("base", "merged", "awq"):
        lines = (clone.root / f"data/reports/eval/{hop}/samples.jsonl").read_text(encoding="utf-8").splitlines()
        items[hop] = [(row["suite"], row["item_id"], row["metric"]) for row in map(json.loads, lines)]
    assert items["base"] == items["merged"] == items["awq"]
    assert len(items["base"]) >= 104 + 120 + 30


def test_second_demo_is_a_quick_no_op(clone, demo):
    before = {stage.name: (clone.root / stage.output / "manifest.json").stat().st_mtime_ns for stage in STAGES}
    started = time.monotonic()
    again = clone.run("make", "demo")
    print(f"second make demo: {time.monotonic() - started:.0f} s")
    assert "nothing changed: version 1 is champion already" in again.stdout
    assert "installing" not in again.stdout
    after = {stage.name: (clone.root / stage.output / "manifest.json").stat().st_mtime_ns for stage in STAGES}
    assert before == after


def test_dvc_repro_finds_everything_done_and_says_something_useful(clone, demo):
    assert "up to date" in clone.run(".venv/bin/dvc", "repro").stdout
    assert "domain_bits_per_byte" in clone.run(".venv/bin/dvc", "metrics", "show").stdout
    clone.run(".venv/bin/dvc", "plots", "show", "--out", "plots")
    assert "loss" in (clone.root / "plots" / "index.html").read_text(encoding="utf-8")


def test_the_verdict_is_explained_and_its_error_told(clone, demo):
    explained = json.loads(clone.tunegate("gate", "explain", "1", "--json").stdout)
    assert explained["verdict"] == "PASS"
    assert "reference answers" in clone.tunegate("gate", "explain", "1").stdout.lower()
    clone.tunegate("gate", "simulate", "--runs", "200")


def test_a_reviewer_can_read_the_dossier_in_a_browser(clone, demo):
    page = clone.root / "data/reports/dossier/index.html"
    tests = "tests/unit/dossier/test_dossier_browser.py"
    command = [".venv/bin/python", "-m", "pytest", "-q", "-m", "slow", tests]
    environment = clone.environment | {"TUNEGATE_DOSSIER": str(page)}
    done = subprocess.run(command, cwd=clone.root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.fixture(scope="module")
def serving(clone, demo, running, until):
    """`tunegate serve` in the foreground, as a platform engineer starts it."""
    with running([".venv/bin/tunegate", "serve"], clone.root, "serve", clone.environment) as log:
        until(lambda: (_status(clone)["serving"] or {}).get("healthy"), log, 300)
        yield log


@pytest.fixture(scope="module")
def api_key(clone, serving) -> str:
    return json.loads(clone.tunegate("keys", "create", "newcomer", "--json").stdout)["key"]


@pytest.fixture(scope="module")
def client(clone, api_key):
    from openai import OpenAI

    return OpenAI(base_url=f"http://127.0.0.1:{clone.environment['TUNEGATE_GATEWAY_PORT']}/v1", api_key=api_key)


def test_the_unmodified_openai_client_works(client, clone):
    raw = client.chat.completions.with_raw_response.create(
        model="champion", messages=[{"role": "user", "content": "碘片什么时候服用？"}], max_tokens=32
    )
    assert raw.headers["x-tunegate-version"] == "1"
    found = json.loads(clone.tunegate("lineage", raw.headers["x-tunegate-lineage"], "--json").stdout)
    assert found["version"] == "1"
    assert found["made_from"]["raw"]
    assert raw.parse().choices[0].message.content
    chunks = client.chat.completions.create(
        model="champion", messages=[{"role": "user", "content": "What is an OIL?"}], max_tokens=16, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_live_endpoint_answers_as_its_evidence_says(clone, serving):
    found = json.loads(clone.tunegate("eval", "live", "--limit", "2", "--json").stdout)
    assert found["agrees"], found["problems"]
    assert found["version"] == "1"
    assert {"ceval_accuracy", "domain_choice_accuracy", "safety_refuse_accuracy"} <= set(found["metrics"])


def test_a_look_at_the_real_champion_raises_no_alarm(clone, client):
    """`tunegate monitor`: the canaries and the evidence through the gateway, callers' questions from its log."""
    found = json.loads(clone.tunegate("monitor", "--json").stdout)
    assert (found["version"], found["alarms"]) == ("1", [])
    assert found["questions"]["rows"] >= 1


@pytest.fixture(scope="module")
def registry(clone, demo) -> Registry:
    return Registry(Project(clone.root), load_settings(clone.root / "params.yaml").register_.model_name)


def _copy_version(registry: Registry, **changes: str) -> str:
    first = registry.version("1")
    made = registry.client.create_model_version(
        registry.name, source=first.source, run_id=first.run_id, tags={**first.tags, **changes}
    )
    return str(made.version)


def test_moving_the_alias_to_a_pass_swaps_without_dropping_a_request(clone, client, registry, until):
    second = _copy_version(registry)
    outcomes: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            raw = client.chat.completions.with_raw_response.create(
                model="champion", messages=[{"role": "user", "content": "隐蔽"}], max_tokens=4
            )
            outcomes.append(raw.headers["x-tunegate-version"])

    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        registry.set_champion(second)
        # Either this call or the loop inside `tunegate serve` does it; both take the same lock.
        clone.tunegate("reconcile", "--once", check=False)
        until(lambda: _status(clone)["in_sync"], clone.root / "serve.log", 300)
    finally:
        stop.set()
        for caller in callers:
            caller.join(timeout=60)
    assert outcomes[0] == "1"
    assert outcomes[-1] == second
    assert outcomes == sorted(outcomes)


def test_moving_the_alias_to_a_fail_changes_nothing_live_and_says_why(clone, registry, client):
    live = _status(clone)["serving"]["version"]
    bad = _copy_version(registry, **{"tunegate.verdict": "FAIL"})
    registry.set_champion(bad)
    clone.tunegate("reconcile", "--once")
    status = _status(clone)
    assert status["serving"]["version"] == live
    assert status["in_sync"] is False
    assert "FAIL" in registry.version(bad).tags["tunegate.refused"]
    refused = clone.tunegate("promote", bad, check=False)
    assert refused.returncode == 4
    assert "next:" in refused.stderr


def test_rollback_is_one_command(clone, registry, client):
    registry.set_champion("2")
    clone.tunegate("reconcile", "--once")
    clone.tunegate("rollback", "--reason", "演练")
    status = _status(clone)
    assert status["serving"]["version"] == status["champion"]["version"] == "1"
    assert status["in_sync"] is True


def _status(clone) -> dict:
    return json.loads(clone.tunegate("status", "--json").stdout)
