import json

import pytest

from tasks.core.errors import ConfigError, DataContractError, GateFailedError
from tasks.core.layout import AWQ
from tasks.proof.signers import machine_signer
from tasks.release.approvals import approve, refusal, sign_approval
from tasks.release.history import ENTRY, append_event, champions_before, read_history
from tasks.release.register import register
from tasks.release.registry import Registry
from tests.unit.proof.conftest import signer
from tests.unit.release.conftest import list_approvers


def test_a_version_carries_its_evidence(project, settings, run_stages):
    run_stages(project, "tg-1")
    version = register(project, settings)
    assert (version.number, version.verdict, version.lineage_id, version.demo) == ("1", "PASS", "tg-1", True)
    assert version.tags["tunegate.requested_by"] == "王工"
    assert float(version.tags["tunegate.metric.awq.domain_bits_per_byte"]) == pytest.approx(1.7)
    registry = Registry(project, settings.register_.model_name)
    assert (registry.weights(version) / "manifest.json").is_file()
    names = {item.path for item in registry.client.list_artifacts(version.run_id)}
    assert names == {"model", "reports", "checkout", "release", "comparison", "contents.json"}


def test_the_same_evidence_is_registered_once(project, settings, run_stages):
    run_stages(project, "tg-1")
    assert register(project, settings).number == register(project, settings).number == "1"
    run_stages(project, "tg-2")
    assert register(project, settings).number == "2"


def test_weights_changed_after_the_evaluation_are_not_registered(project, settings, run_stages):
    run_stages(project, "tg-1")
    (project.root / AWQ / "config.json").write_text("{}")
    with pytest.raises(DataContractError, match=r"config\.json"):
        register(project, settings)


def test_weights_changed_in_the_artifact_store_are_not_served(project, settings, run_stages):
    run_stages(project, "tg-1")
    version = register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    (registry.weights(version) / "config.json").write_text("{}")
    with pytest.raises(DataContractError, match=r"config\.json"):
        registry.weights(version)


def test_unknown_version_names_the_known_ones(project, settings, run_stages):
    run_stages(project, "tg-1")
    register(project, settings)
    with pytest.raises(ConfigError, match=r"no version 7 \(there are: 1\)"):
        Registry(project, settings.register_.model_name).version("7")


def test_approvals_need_a_listed_key_a_reason_and_a_pass(project, settings, run_stages, approvers):
    run_stages(project, "tg-1", verdict="FAIL")
    register(project, settings)
    run_stages(project, "tg-2")
    register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    with pytest.raises(GateFailedError, match="verdict is FAIL"):
        approve(registry, "1", settings.promote, approvers["李审"], "读过报告")
    with pytest.raises(ConfigError, match="of nobody listed"):
        approve(registry, "2", settings.promote, signer(99), "读过报告")
    with pytest.raises(ConfigError, match="needs a reason"):
        approve(registry, "2", settings.promote, approvers["李审"], "")
    with pytest.raises(ConfigError, match="not as owner"):
        approve(registry, "2", settings.promote, approvers["李审"], "读过报告", role="owner")
    approved = approve(registry, "2", settings.promote, approvers["李审"], "读过报告")
    assert [item["by"] for item in approved.approvals] == ["李审"]
    with pytest.raises(ConfigError, match="already"):
        approve(registry, "2", settings.promote, approvers["李审"], "再读一遍")


def test_two_approvals_mean_two_people_neither_the_requester(project, settings, run_stages, with_promote, approvers):
    run_stages(project, "tg-1")
    version = register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    two = with_promote(settings, approvals_required=2).promote
    assert refusal(registry, version, settings.promote) is None
    assert refusal(registry, version, two) == "0 of 2 approvals"
    with pytest.raises(ConfigError, match="the requester cannot approve"):
        approve(registry, "1", two, approvers["王工"], "读过报告")
    approve(registry, "1", two, approvers["李审"], "读过报告")
    own = sign_approval(registry, "1", two, approvers["王工"], "读过报告")
    registry.tag("1", "approval.own", json.dumps(own))
    why = refusal(registry, registry.version("1"), two)
    assert "1 of 2 approvals" in why
    assert "the requester cannot approve" in why
    assert refusal(registry, approve(registry, "1", two, approvers["赵主任"], "读过报告"), two) is None


def test_a_demo_verdict_cannot_carry_production_nor_can_a_key_that_is_not_listed(
    project, settings, run_stages, with_promote
):
    production = with_promote(settings, environment="production").promote
    run_stages(project, "tg-1", demo=True)
    demo = register(project, settings)
    run_stages(project, "tg-2", demo=False)
    good, registry = register(project, settings), Registry(project, settings.register_.model_name)
    assert "signed by a key that is not listed" in refusal(registry, good, production)
    list_approvers(project, machines=[machine_signer(project, "release")])
    assert "marked demo" in refusal(registry, demo, production)
    assert refusal(registry, good, production) is None


def test_history_is_a_chain_that_shows_tampering(project, settings, run_stages):
    run_stages(project, "tg-1")
    register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    append_event(registry, "promote", "1", "王工", "首次上线")
    append_event(registry, "promote", "2", "李审", "第二版")
    assert [event.version for event in read_history(registry)] == ["1", "2"]
    tags = registry.client.get_registered_model(registry.name).tags
    forged = tags[f"{ENTRY}000001"].replace("王工", "张三")
    registry.client.set_registered_model_tag(registry.name, f"{ENTRY}000001", forged)
    with pytest.raises(DataContractError, match="000001 was changed"):
        read_history(registry)


def test_two_rollbacks_go_back_two_champions(project, settings, run_stages):
    run_stages(project, "tg-1")
    register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    for kind, version in (("promote", "1"), ("promote", "2"), ("alias", "3"), ("rollback", "2")):
        append_event(registry, kind, version, "王工", "")
    assert champions_before(read_history(registry)) == ["1", "2"]
    append_event(registry, "promote", "1", "王工", "有意重新上线")
    assert champions_before(read_history(registry)) == ["1", "2", "1"]
