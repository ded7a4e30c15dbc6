"""Forged versions: each fault planted in a real signed version, each refused by the link that is broken."""

import base64
import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tasks.core.digest import sha256_file
from tasks.core.errors import DataContractError, GateFailedError, TransientError
from tasks.core.files import read_json, write_json
from tasks.proof.chain import Proof, broken
from tasks.proof.envelope import IN_TOTO, content, document_sha256, sign
from tasks.proof.record import PREDICATE, SBOM
from tasks.proof.signers import machine_signer
from tasks.proof.stored import read_proof_folder, write_proof
from tasks.proof.trust import APPROVERS
from tasks.release import reconcile
from tasks.release.approvals import withdraw
from tasks.release.proofs import ANYWHERE, chain, read_proof
from tasks.release.reconcile import deployment_of, exclusively_reconciling, promote, reconcile_once
from tasks.serving.proven import require_proven
from tests.contract.forged import World
from tests.unit.proof.conftest import person, signer, write_approvers
from tests.unit.release.conftest import PEOPLE, StandInHost, _with_promote

pytestmark = pytest.mark.slow


def payload(value: object) -> str:
    return base64.b64encode(json.dumps(value, ensure_ascii=False).encode()).decode()


def resigned(world, change: Callable[[dict], None], key=None) -> None:
    """The record changed and signed again, by this machine's own key or another."""
    record = content(world.record(), IN_TOTO)
    change(record)
    world.forge_record(sign(IN_TOTO, record, key or machine_signer(world.project, "release")))


def unsigned_change(world, change: Callable[[dict], None]) -> None:
    envelope = world.record()
    record = content(envelope, IN_TOTO)
    change(record)
    world.forge_record(envelope | {"payload": payload(record)})


def swap(world, path: str) -> None:
    shutil.copyfile(world.root("2") / path, world.root() / path)


def withdrawn(world, what: str) -> None:
    """Withdrawn, and the withdrawal's tag removed by a forger."""
    withdraw(world.registry, what, PEOPLE["周工"], "答案有误")
    (name,) = [name for name in world.version().tags if "withdrawal" in name]
    world.untag(name)


def one_approval_id(world) -> str:
    return next(iter(world.approvals())).removeprefix("tunegate.approval.")


def listed(world, people) -> None:
    write_approvers(world.project.root / APPROVERS, people)


def truncate(envelope: dict) -> dict:
    signature = envelope["signatures"][0]
    return envelope | {"signatures": [signature | {"sig": payload("x" * 20)}]}


NOW = datetime.now(UTC)
SHA1 = [{"name": "model/config.json", "digest": {"sha1": "0" * 40}}]

FORGERIES: dict[str, tuple[Callable[[World], object], str]] = {
    "tag verdict": (lambda w: w.tag("verdict", "FAIL"), "tags: tag verdict was edited"),
    "tag demo": (lambda w: w.tag("demo", "false"), "tags: tag demo was edited"),
    "tag lineage": (lambda w: w.tag("lineage_id", "tg-9"), "tags: tag lineage_id was edited"),
    "tag weights' digest": (lambda w: w.tag("awq_manifest_sha256", "0" * 64), "tags: tag awq_manifest_sha256"),
    "tag requester": (lambda w: w.tag("requested_by", "别人"), "tags: tag requested_by"),
    "tag record's digest": (lambda w: w.tag("record_sha256", "0" * 64), "tags: tag record_sha256"),
    "approval without a signature": (
        lambda w: w.only(x={"by": "赵主任", "reason": "好", "time": "2026-01-01T00:00:00+00:00"}), "approvals: 1 of 2"),
    "verdict.json edited": (
        lambda w: w.edit("reports/gate/verdict.json", '"demo": true', '"demo": false'), "verdict: reports/gate"),
    "one item's score edited": (
        lambda w: w.edit("reports/eval/awq/results.json", "0.25", "0.95"), "evaluation: reports/eval/awq"),
    "weights swapped": (lambda w: swap(w, "model/config.json"), "weights: model/config.json is changed"),
    "one weight file added": (
        lambda w: (w.root() / "model/extra.safetensors").write_bytes(b"x"), "weights: model/extra"),
    "one weight file removed": (lambda w: (w.root() / "model/config.json").unlink(), "is missing"),
    "adapter swapped": (lambda w: swap(w, "release/manifests/adapter.json"), "adapter: release/manifests/adapter"),
    "dossier of another version": (lambda w: swap(w, "reports/dossier/manifest.json"), "dossier: reports/dossier/man"),
    "dossier edited": (lambda w: w.edit("reports/dossier/card.json", "核应急", "別的"), "dossier: reports/doss"),
    "checkout edited": (lambda w: w.edit("checkout/params.yaml", "laptop", "desktop"), "code: checkout/params.yaml"),
    "lock edited": (lambda w: w.edit("release/locks/pipeline.lock", "absl", "evil"), "locks: release/locks/pipeline"),
    "sbom edited": (lambda w: w.edit("release/sbom.cdx.json", "absl-py", "evil"), "sbom: release/sbom.cdx.json is ch"),
    "a file beside all": (lambda w: (w.root() / "checkout/new.py").write_text("x"), "code: checkout/new.py is not in"),
    "another version's record": (lambda w: w.forge_record(w.record("2")), "tags: tag lineage_id"),
    "no record": (lambda w: (w.root() / "release/record.dsse.json").unlink(), "record: it has no release record"),
    "record's verdict edited": (
        lambda w: unsigned_change(w, lambda r: r["predicate"].update(demo=False)), "record: the signature of key"),
    "record signed by another key": (
        lambda w: resigned(w, lambda r: None, signer(77)), "record: it is signed by a key that is not listed"),
    "record signed by an approver's key": (
        lambda w: resigned(w, lambda r: None, PEOPLE["李审"]), "record: it is signed by a key that is not listed"),
    "record's signature stripped": (lambda w: w.forge_record(w.record() | {"signatures": []}), "it is not signed"),
    "record's signature truncated": (lambda w: w.forge_record(truncate(w.record())), "record: the signature of key"),
    "record under another digest algorithm": (
        lambda w: resigned(w, lambda r: r.update(subject=SHA1)), "record: model/config.json is named by sha1"),
    "record of another kind": (
        lambda w: resigned(w, lambda r: r.update(predicateType=PREDICATE + "0")), "record: it is no release record"),
    "record signed again, for the same files": (
        lambda w: resigned(w, lambda r: r["predicate"].update(requested_by="别人")), "tags: tag requested_by"),
    "approval of another environment": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"], environment="production")), "approvals: 1 of 2"),
    "approval of another version": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"], record_sha256=w.digest("2"))), "it approves another record"),
    "approval expired": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"], expires=(NOW - timedelta(1)).isoformat())), "it expired at"),
    "approval of the future": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"], time=(NOW + timedelta(1)).isoformat(),
                                      expires=(NOW + timedelta(2)).isoformat())), "it is of the future"),
    "approval withdrawn, its tag removed": (lambda w: withdrawn(w, one_approval_id(w)), "it was withdrawn by 周工"),
    "version withdrawn, its tag removed": (lambda w: withdrawn(w, "1"), "approvals: 0 of 2"),
    "approval by the requester": (lambda w: w.only(x=w.approval(PEOPLE["王工"], by="王工")), "the requester cannot"),
    "approval by an unlisted key": (lambda w: w.only(x=w.approval(signer(98))), "signed by a key that is not listed"),
    "approval in another's name": (lambda w: w.only(x=w.approval(PEOPLE["周工"])), "is signed by 周工"),
    "approval in a role one has not": (lambda w: w.only(x=w.approval(PEOPLE["赵主任"], role="owner")), "no role"),
    "approval edited": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"]) | {"payload": payload({"by": "赵主任"})}), "does not hold"),
    "approval's signature stripped": (
        lambda w: w.only(x=w.approval(PEOPLE["赵主任"]) | {"signatures": []}), "it is not signed"),
    "approval's signature truncated": (lambda w: w.only(x=truncate(w.approval(PEOPLE["赵主任"]))), "does not hold"),
    "one person with two keys": (
        lambda w: (listed(w, [person("李审", PEOPLE["李审"], PEOPLE["孙工"])]),), "approvals: 1 of 2"),
    "a person taken off the list": (lambda w: listed(w, [person("李审", PEOPLE["李审"])]), "approvals: 1 of 2"),
}  # fmt: skip


@pytest.mark.parametrize(("forge", "link"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_version_is_refused_by_the_broken_link(world, forge, link):
    forge(world)
    found = world.broken()
    assert found is not None, "the forgery went through"
    assert link in f"{found.name}: {found.words}"


def sbom_of_another_lock(world) -> None:
    """Bill of materials and record made anew, by somebody with the release key: they do not fit the locks."""
    path = world.root() / SBOM
    bom = read_json(path)
    for one in bom["metadata"]["component"]["properties"]:
        one["value"] = "0" * 64 if one["name"] == "tunegate:lock:pipeline.lock" else one["value"]
    write_json(path, bom)

    def rename(record):
        (subject,) = [one for one in record["subject"] if one["name"] == SBOM]
        subject["digest"]["sha256"] = sha256_file(path)

    resigned(world, rename)
    world.tag("record_sha256", world.digest())


def test_a_bill_of_materials_of_another_lock_does_not_hold(world):
    sbom_of_another_lock(world)
    links = chain(world.registry, world.version(), ANYWHERE, files=True)
    assert (broken(links).name, broken(links).words) == ("sbom", "it is of other locks than the version's")


def test_rules_changed_after_training_are_shown(world):
    def change(record):
        record["predicate"]["rules"] |= {"fixed_sha256": "1" * 64, "sha256": "2" * 64, "changed": True}

    resigned(world, change)
    links = chain(world.registry, world.version(), ANYWHERE)
    assert "changed after training began" in next(link for link in links if link.name == "rules").words


def test_what_is_honest_is_not_refused(world):
    assert world.broken() is None
    # Keys in another order, white space, another signature of the same document by a listed key.
    envelope = world.record()
    record = content(envelope, IN_TOTO)
    text = json.dumps(dict(reversed(record.items())), indent=4, ensure_ascii=False)
    reordered = envelope | {"payload": base64.b64encode(text.encode()).decode()}
    world.forge_record(dict(reversed(reordered.items())))
    assert world.broken() is None
    assert document_sha256(content(world.record(), IN_TOTO)) == world.version().tags["tunegate.record_sha256"]


def test_one_person_with_two_spellings_is_no_list_at_all(world):
    from tasks.core.errors import ConfigError

    listed(world, [person("Li Wei", PEOPLE["李审"]), person("li  wei", PEOPLE["孙工"])])
    with pytest.raises(ConfigError, match="same name"):
        world.broken()


def test_a_new_approval_after_a_withdrawal_counts_and_an_old_one_replayed_does_not(world):
    old = world.approvals()
    withdraw(world.registry, "1", PEOPLE["周工"], "先停")
    assert "0 of 2" in world.broken().words
    later = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="seconds")
    world.tag("approval.new", json.dumps(world.approval(PEOPLE["赵主任"], time=later)))
    for name, value in old.items():
        world.tag(name.removeprefix("tunegate."), json.dumps(value))
    assert "1 of 2" in world.broken().words


@contextmanager
def hosted(patch):
    host = StandInHost()
    for module in ("reconcile", "rollback", "status", "golive", "prune", "rollout", "canary"):
        patch.setattr(f"tasks.release.{module}.control", host)
    yield host


class TestDoors:
    """Every door asks the chain: promote, the alias door, reconcile, register, and the host for itself."""

    def test_promote_names_the_link(self, world, monkeypatch):
        with hosted(monkeypatch) as host:
            world.tag("verdict", "FAIL")
            with pytest.raises(GateFailedError, match="tag verdict was edited"):
                promote(world.project, world.settings, "1", by="王工", reason="")
            world.tag("verdict", "PASS")
            world.edit("reports/eval/awq/results.json", "0.25", "0.95")
            with pytest.raises(DataContractError, match="evaluation: reports/eval/awq/results"):
                promote(world.project, world.settings, "1", by="王工", reason="")
            assert host.deployed == []
            assert world.registry.champion() is None

    def test_an_alias_moved_by_hand_is_held_to_the_chain(self, world, monkeypatch):
        with hosted(monkeypatch) as host:
            world.untag(next(iter(world.approvals())))
            world.registry.set_champion("1")
            strict = _with_promote(world.settings, approvals_required=2)
            outcome = reconcile_once(world.project, strict)
            world.registry.set_champion(None)
            assert (outcome["action"], host.deployed) == ("refused", [])
            assert "1 of 2 approvals" in outcome["reason"]

    def test_two_promotions_at_once(self, world, monkeypatch):
        with hosted(monkeypatch):
            monkeypatch.setattr(reconcile, "LOCK_WAIT_S", 0.0)
            with exclusively_reconciling(world.project), pytest.raises(TransientError, match="at work"):
                promote(world.project, world.settings, "1", by="王工", reason="")

    def test_the_host_asks_for_itself(self, world, tmp_path):
        wanted = deployment_of(world.registry, world.version(), by="王工", reason="")
        params = _with_promote(world.settings, approvals_required=2).promote
        require_proven(world.project, params, wanted)
        second = deployment_of(world.registry, world.version("2"), by="王工", reason="")
        proof = read_proof_folder(wanted.proof)
        write_proof(tmp_path / "bare", replace(proof, approvals=[]))
        withdraw(world.registry, "2", PEOPLE["周工"], "停")
        for forged, link in (
            (replace(wanted, proof=None), "record: it has no release record"),
            (replace(wanted, proof=tmp_path), "record: it has no release record"),
            (replace(wanted, proof=second.proof), "weights: the record is of tg-"),
            (replace(wanted, manifest_sha256="0" * 64), "weights: the record is of tg-"),
            (replace(wanted, manifest_sha256=None), "weights: the record is of tg-"),
            (replace(wanted, lineage_id="tg-9"), "weights: the record is of tg-"),
            (replace(wanted, proof=tmp_path / "bare"), "approvals: 0 of 2"),
            (second, "approvals: 0 of 2"),
        ):
            with pytest.raises(DataContractError, match=link):
                require_proven(world.project, params, forged)
        withdraw(world.registry, "1", PEOPLE["周工"], "停")
        with pytest.raises(DataContractError, match="it was withdrawn by 周工"):
            require_proven(world.project, params, wanted)

    def test_an_approval_that_expired_after_it_went_live_brings_nothing_down(self, world, monkeypatch):
        strict = _with_promote(world.settings, approvals_required=2)
        with hosted(monkeypatch) as host:
            promote(world.project, strict, "1", by="王工", reason="")
            later = datetime.now(UTC) + timedelta(days=90)
            clock = SimpleNamespace(now=lambda zone: later, fromisoformat=datetime.fromisoformat)
            monkeypatch.setattr("tasks.proof.chain.datetime", clock)
            assert world.broken() is None
            proof = read_proof(world.registry, world.version())
            assert proof.champion["version"] == "1"
            forged = Proof(proof.record, proof.approvals, (), dict(proof.champion) | {"time": "2020-01-01T00:00:00"})
            write_proof(host.deployments[-1].proof, forged)
            with pytest.raises(DataContractError, match="it expired at"):
                require_proven(world.project, strict.promote, host.deployments[-1])
