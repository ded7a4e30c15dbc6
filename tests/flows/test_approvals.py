"""Promotions that wait for approvals, on a real Prefect server: suspended, resumed with signatures, overdue."""

# ruff: noqa: F811 (fixtures of another folder)

import json
import shutil
import signal
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS,
    temporary_settings,
)

from flows import approvals
from flows.deployments import deploy
from flows.outcome import error_of
from flows.release import promote
from tasks.core.errors import ConfigError, GateFailedError
from tasks.core.settings import load_settings
from tasks.proof.approval import make_approval
from tasks.proof.trust import project_trust
from tasks.release.approvals import approve, sign_approval
from tasks.release.proofs import read_proof, record_sha256
from tests.flows.servers import PrefectServer
from tests.unit.proof.conftest import signer
from tests.unit.release.conftest import (  # noqa: F401
    PEOPLE,
    ROOT,
    approvers,
    empty_store,
    host,
    project,
    registry,
    run_stages,
    settings,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS.name, "1")
        server = PrefectServer(tmp_path_factory.mktemp("server") / "prefect").start()
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        for pool in ("cpu", "gpu", "release"):
            client.request("POST", "/work_pools/", json={"name": pool, "type": "process"})
        yield client
    server.kill(signal.SIGTERM)


@pytest.fixture
def two(client, project, registry, approvers, host, monkeypatch):
    """A project that asks for two approvals, deployed."""
    path = project.root / "params.yaml"
    path.write_text(path.read_text("utf-8").replace("approvals_required: 0", "approvals_required: 2"), "utf-8")
    (project.root / "infra").mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "infra" / "prefect.yaml", project.root / "infra" / "prefect.yaml")
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    found = load_settings(path)
    assert found.promote.approvals_required == 2
    deploy(project, found, take_over=True)  # each test is a checkout of its own
    return found.promote


def started(client, **parameters):
    found = client.read_deployment_by_name("promote/when-approved")
    given = {**found.parameters, "version": "1", "by": "王工", "reason": "季度更新", **parameters}
    return client.create_flow_run_from_deployment(found.id, parameters=given)


def go(client, run):
    """Execute a run until it ends or is suspended, as a worker's process does."""
    run = client.read_flow_run(run.id)
    # A suspended run leaves its process by this.
    with suppress(Pause):
        run_flow(promote, flow_run=run, parameters=run.parameters, return_type="state")
    return client.read_flow_run(run.id).state


def resume(client, run, text):
    client.resume_flow_run(run.id, run_input={"approval": text})
    return go(client, run)


def asked(client, run) -> str:
    """What a person reads who resumes the run."""
    keyset = client.read_flow_run(run.id).state.state_details.run_input_keyset
    return json.loads(client.read_flow_run_input(run.id, keyset["description"]))


def signed(registry, params, name, **changes) -> str:
    digest = changes.pop("record", None) or record_sha256(read_proof(registry, registry.version("1")))
    given = {"environment": "demo", "role": "safety", "reason": "读过报告，同意", "lives": timedelta(days=1)} | changes
    made = make_approval(
        PEOPLE[name], project_trust(registry.project), record_sha256=digest, lineage_id="tg-1", **given
    )
    return json.dumps(made)


def test_a_promotion_waits_suspended_takes_signatures_and_goes_on(client, two, registry, host):
    run = started(client)
    state = go(client, run)
    assert (state.name, host.deployed) == ("Suspended", [])
    assert "**2 of 2 approvals** for environment demo" in asked(client, run)
    shown = client.read_flow_run(run.id)
    assert shown.name == f"version 1 lacks 2 approvals, {run.name}"
    assert "version:1" in shown.tags

    # Its place in the queue is free meanwhile.
    queue = client.read_work_queue_by_name("when-approved", work_pool_name="release")
    assert queue.concurrency_limit == 1
    second = started(client, version="2")
    found = client.request("POST", "/work_pools/release/get_scheduled_flow_runs",
                           json={"work_queue_names": ["when-approved"]}).json()  # fmt: skip
    assert [one["flow_run"]["id"] for one in found] == [str(second.id)]

    wrong = signed(registry, two, "李审", record=record_sha256(read_proof(registry, registry.version("2"))))
    assert resume(client, run, wrong).name == "Suspended"
    said = asked(client, run)
    assert "**Refused:** the approval of 李审" in said
    assert "it approves another record" in said
    assert resume(client, run, signed(registry, two, "李审")).name == "Suspended"
    assert "**1 of 2 approvals**" in asked(client, run)
    assert host.deployed == []
    assert resume(client, run, signed(registry, two, "赵主任")).name == "Completed"
    assert host.deployed == ["1"]
    assert registry.champion().number == "1"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (lambda r, p: signed(r, p, "王工"), "the requester cannot approve"),
        (lambda r, p: signed(r, p, "李审", environment="production"), "it is for environment production, not demo"),
        (lambda r, p: signed(r, p, "李审", lives=timedelta(days=-1)), "it expired at"),
        (lambda r, p: signed(r, p, "李审").replace('"sig": "', '"sig": "AAAA'), "does not hold"),
        (lambda r, p: "同意", "this is no signed approval"),
        (lambda r, p: "-----BEGIN PRIVATE KEY-----", "this is a private key"),
        (lambda r, p: "", "Nothing was given"),
    ],
)
def test_what_does_not_count_leaves_it_suspended_with_the_reason(client, two, registry, host, given, why):
    run = started(client)
    go(client, run)
    assert resume(client, run, given(registry, two)).name == "Suspended"
    assert why in asked(client, run)
    assert (host.deployed, registry.version("1").approvals) == ([], [])


def test_approvals_from_another_door_are_seen_and_one_withdrawn_counts_no_more(client, two, registry, host):
    from tasks.release.approvals import withdraw

    run = started(client)
    go(client, run)
    assert resume(client, run, signed(registry, two, "李审")).name == "Suspended"
    approve(registry, "1", two, PEOPLE["赵主任"], "读过报告")
    withdraw(registry, "1", PEOPLE["周工"], "答案有误")
    # The run gives 李审's approval to the check once more; it was withdrawn.
    assert resume(client, run, "").name == "Suspended"
    assert "**2 of 2 approvals**" in asked(client, run)
    time.sleep(1.1)
    for name in ("李审", "赵主任"):
        approve(registry, "1", two, PEOPLE[name], "改过之后再读")
    assert resume(client, run, "").name == "Completed"
    assert host.deployed == ["1"]


def test_a_version_that_nobody_can_approve_does_not_wait(client, two, registry, host):
    registry.tag("1", "verdict", "FAIL")
    error = error_of(go(client, started(client)))
    assert isinstance(error, GateFailedError)
    assert "cannot be approved: tag verdict was edited" in error.message


def test_an_approval_that_comes_with_the_request_is_taken_once_however_often_the_run_starts(
    client, two, registry, host
):
    run = started(client, approval=signed(registry, two, "李审"))
    assert go(client, run).name == "Suspended"
    assert "**1 of 2 approvals**" in asked(client, run)
    assert resume(client, run, signed(registry, two, "赵主任")).name == "Completed"
    error = error_of(go(client, started(client, version="2", approval=signed(registry, two, "李审"))))
    assert "it approves another record" in error.message


def test_without_waiting_it_is_refused_at_once(client, two, host):
    error = error_of(go(client, started(client, wait_for_approvals_s=0)))
    assert "0 of 2 approvals" in error.message


def test_a_run_of_no_deployment_cannot_wait(client, two, host):
    with pytest.raises(ConfigError, match="only a run of a deployment"):
        promote("1", by="王工", wait_for_approvals_s=60)


def test_when_the_time_is_over_it_fails_with_the_next_command(client, two, host, monkeypatch):
    ids = [client.read_deployment_by_name("promote/when-approved").id]
    run, waits = started(client, wait_for_approvals_s=1), started(client)
    go(client, waits)
    monkeypatch.setattr(approvals, "LEAST", timedelta(seconds=1))
    assert go(client, run).name == "Suspended"
    time.sleep(1.5)
    approvals.end_overdue(client, ids)
    state = client.read_flow_run(run.id).state
    error = error_of(state)
    assert (state.name, type(error)) == ("Failed", GateFailedError)
    assert error.message == "the approvals of version 1 did not come in time; nothing was changed"
    assert error.hint == "tunegate approve 1 --serve, then tunegate promote 1"
    assert client.read_flow_run(waits.id).state.name == "Suspended"
    assert host.deployed == []


def test_what_is_given_wrong_wins_no_time(client, two, host):
    run = started(client, wait_for_approvals_s=3)
    go(client, run)
    time.sleep(3)
    error = error_of(resume(client, run, "同意"))
    assert "did not come in time" in error.message


def test_without_our_workers_the_servers_own_word_is_understood(client, two, host, monkeypatch):
    monkeypatch.setattr(approvals, "LEAST", timedelta(seconds=1))
    monkeypatch.setattr(approvals, "MARGIN", timedelta(0))
    run = started(client, wait_for_approvals_s=1)
    go(client, run)
    deadline = time.monotonic() + 60
    while not (state := client.read_flow_run(run.id).state).is_final():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    error = error_of(state)
    assert isinstance(error, GateFailedError)
    assert "tunegate approve" in error.hint


def test_a_stranger_is_refused(client, two, registry, host):
    from tasks.proof.envelope import APPROVAL, content, sign

    run = started(client)
    go(client, run)
    good = sign_approval(registry, "1", two, PEOPLE["李审"], "读过报告")
    forged = sign(APPROVAL, content(good, APPROVAL), signer(98))
    resume(client, run, json.dumps(forged))
    assert "signed by a key that is not listed" in asked(client, run)
