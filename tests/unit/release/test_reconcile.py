"""Release rules against a real MLflow store; the serving host is a stand-in (the real one: tests/e2e)."""

import json
import threading
import time

import pytest

from tasks.core.errors import ConfigError, DataContractError, GateFailedError, TransientError
from tasks.core.layout import HOPS, report_of
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS
from tasks.release.approvals import approve
from tasks.release.golive import go_live
from tasks.release.history import read_history
from tasks.release.reconcile import exclusively_reconciling, promote, reconcile_once
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.release.rollback import rollback
from tasks.release.status import describe, describe_lineage, serving_status, trace
from tasks.release.version_evidence import report_folder
from tests.unit.release.conftest import write_stage


@pytest.fixture
def registry(project, settings, run_stages):
    for lineage_id in ("tg-1", "tg-2"):
        run_stages(project, lineage_id)
        register(project, settings)
    run_stages(project, "tg-3", verdict="FAIL")
    register(project, settings)
    return Registry(project, settings.register_.model_name)


@pytest.mark.slow
def test_nothing_to_do_without_a_champion(project, settings, registry, host):
    assert reconcile_once(project, settings)["action"] == "none"
    assert host.live is None


@pytest.mark.slow
def test_promotion_serves_and_is_recorded(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="首次上线")
    status = serving_status(project, settings)
    assert status["champion"]["version"] == status["serving"]["version"] == "1"
    assert status["in_sync"] is True
    assert [(event.kind, event.version, event.by) for event in read_history(registry)] == [("promote", "1", "王工")]
    assert "version 1 in slot blue" in describe(status)


@pytest.mark.slow
def test_a_version_without_a_pass_is_not_promoted(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    with pytest.raises(GateFailedError, match="verdict is FAIL"):
        promote(project, settings, "3", by="王工", reason="")
    assert registry.champion().number == "1"
    assert host.live["version"] == "1"


@pytest.mark.slow
def test_alias_moved_by_hand_to_a_pass_is_served(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    registry.set_champion("2")
    assert reconcile_once(project, settings)["action"] == "deployed"
    assert host.live["version"] == "2"
    assert read_history(registry)[-1].kind == "alias"
    assert reconcile_once(project, settings)["action"] == "none"


@pytest.mark.slow
def test_alias_moved_by_hand_to_a_fail_changes_nothing_live_and_says_why(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    registry.set_champion("3")
    assert reconcile_once(project, settings)["action"] == "refused"
    assert host.deployed == ["1"]
    assert "verdict is FAIL" in registry.version("3").tags["tunegate.refused"]
    assert serving_status(project, settings)["in_sync"] is False


@pytest.mark.slow
def test_after_a_restart_the_last_rightful_champion_serves_instead_of_a_refused_one(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    host.stop_host(project)
    registry.set_champion("3")
    assert reconcile_once(project, settings)["action"] == "refused"
    assert host.live["version"] == "1"


@pytest.mark.slow
def test_a_version_registered_by_hand_is_refused(project, settings, registry, host):
    made = registry.client.create_model_version(
        registry.name, source="file:///nowhere", tags={"tunegate.verdict": "PASS"}
    )
    registry.set_champion(str(made.version))
    assert reconcile_once(project, settings)["reason"] == "it was not registered by Tunegate: no lineage"


@pytest.mark.slow
def test_a_failed_deployment_leaves_alias_and_serving_as_they_were(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    host.fails_on = {"2"}
    with pytest.raises(TransientError, match="smoke test"):
        promote(project, settings, "2", by="王工", reason="")
    assert registry.champion().number == "1"
    assert host.live["version"] == "1"
    assert "smoke test" in registry.version("2").tags["tunegate.deploy_failed"]
    assert [event.version for event in read_history(registry)] == ["1"]


def test_rollback_goes_to_the_champion_before(project, settings, registry, host):
    with pytest.raises(ConfigError, match="no earlier champion"):
        rollback(project, settings, by="王工", reason="")
    promote(project, settings, "1", by="王工", reason="")
    promote(project, settings, "2", by="王工", reason="")
    assert rollback(project, settings, by="李审", reason="回答变差")["version"] == "1"
    assert host.live["version"] == registry.champion().number == "1"
    with pytest.raises(ConfigError, match="no earlier champion"):
        rollback(project, settings, by="李审", reason="")


def test_a_run_with_nothing_changed_does_not_undo_a_rollback(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    promote(project, settings, "2", by="王工", reason="")
    rollback(project, settings, by="李审", reason="回答变差")
    outcome = go_live(project, settings, "2", keep_serving=True, report=print)
    assert "was replaced" in outcome["outcome"]
    assert outcome["answers"] == []
    assert host.live["version"] == registry.champion().number == "1"


@pytest.mark.slow
def test_a_run_with_nothing_changed_starts_nothing(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    host.stop_host(project)
    assert "nothing changed" in go_live(project, settings, "1", keep_serving=False, report=print)["outcome"]
    assert host.live is None


@pytest.mark.slow
def test_missing_approvals_stop_a_promotion_until_they_are_given(
    project, settings, registry, host, with_promote, approvers
):
    strict = with_promote(settings, approvals_required=1)
    with pytest.raises(GateFailedError, match="0 of 1 approvals") as caught:
        promote(project, strict, "1", by="王工", reason="")
    assert "tunegate approve 1" in caught.value.hint
    assert "waits" in go_live(project, strict, "1", keep_serving=False, report=print)["outcome"]
    approve(registry, "1", strict.promote, approvers["李审"], "读过报告")
    assert promote(project, strict, "1", by="王工", reason="")["action"] == "deployed"


@pytest.mark.slow
def test_a_slot_is_held_to_the_answers_in_the_versions_own_evidence(project, settings, registry, host, run_stages):
    run_stages(project, "tg-9")  # what lies in the checkout now is of no version
    promote(project, settings, "1", by="王工", reason="")
    (held_to,) = host.held_to
    assert held_to.prompts == FINGERPRINT_PROMPTS
    assert {hop: answers[0] for hop, answers in held_to.answers.items()} == {
        hop: [number, 1, 2] for number, hop in enumerate(HOPS)
    }


@pytest.mark.slow
def test_a_version_whose_evidence_has_no_fingerprint_is_not_served(project, settings, registry, host, run_stages):
    run_stages(project, "tg-7")
    write_stage(project.root, report_of("awq"), "tg-7", results={"metrics": {"ceval_accuracy": 0.5}})
    number = register(project, settings).number
    with pytest.raises(DataContractError, match=f"version {number}: the evidence has no fingerprint"):
        promote(project, settings, number, by="王工", reason="")
    assert host.deployed == []
    assert registry.champion() is None


@pytest.mark.slow
def test_evidence_changed_after_it_was_registered_is_not_believed(project, settings, registry, host):
    report = report_folder(registry, registry.version("1"), "awq") / "results.json"
    report.write_text(json.dumps({"metrics": {}}))
    with pytest.raises(DataContractError, match=r"version 1: evaluation: reports/eval/awq/results\.json is changed"):
        promote(project, settings, "1", by="王工", reason="")
    report.unlink()
    with pytest.raises(
        DataContractError, match=r"version 1: evaluation: reports/eval/awq/results\.json is (missing|gone)"
    ):
        promote(project, settings, "1", by="王工", reason="")
    assert host.deployed == []


def test_a_second_reconciler_is_told_that_one_is_at_work(project, settings, registry, host, monkeypatch):
    monkeypatch.setattr("tasks.release.reconcile.LOCK_WAIT_S", 0.2)
    with exclusively_reconciling(project), pytest.raises(TransientError, match="another reconcile"):
        reconcile_once(project, settings)


def test_a_second_reconciler_waits_for_a_short_one(project, settings, registry, host):
    held = threading.Event()

    def look():
        with exclusively_reconciling(project):
            held.set()
            time.sleep(0.5)

    other = threading.Thread(target=look)
    other.start()
    held.wait(10)
    assert reconcile_once(project, settings)["action"] == "none"
    other.join()


@pytest.mark.slow
def test_lineage_leads_from_an_answer_to_the_data(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="首次上线")
    found = trace(registry, "tg-1")
    assert found["version"] == "1"
    assert found["made_from"] == {"raw": {"data/raw": "0" * 64}}
    assert found["champion_history"][0]["reason"] == "首次上线"
    assert "0" * 64 in describe_lineage(found)
    with pytest.raises(ConfigError, match="tg-404"):
        trace(registry, "tg-404")
