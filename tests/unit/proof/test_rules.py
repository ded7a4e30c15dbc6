"""Rules fixed when training begins: signed once, kept when it goes on from a checkpoint."""

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof.envelope import RULES, opened
from tasks.proof.rules import fix_rules, read_fixed_rules
from tasks.proof.signers import machine_signer
from tests.unit.release.conftest import ROOT


def test_the_rules_of_the_beginning_stay(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNEGATE_RELEASE_KEY", raising=False)
    project, gate = Project(tmp_path), load_settings(ROOT / "params.yaml").gate
    first = fix_rules(project, gate, "tg-1", resumed=False)
    assert first == gate.digest()
    looser = gate.model_copy(update={"alpha": 0.4})
    assert fix_rules(project, looser, "tg-1", resumed=True) == first
    key = machine_signer(project, "release").public
    document, _ = opened(read_fixed_rules(project, "tg-1", first), RULES, {key.key_id: key})
    assert (document["rules_sha256"], document["lineage_id"]) == (first, "tg-1")
    # A training begun anew is begun by new rules; what was signed before stays as it is.
    assert fix_rules(project, looser, "tg-1", resumed=False) == looser.digest()
    assert read_fixed_rules(project, "tg-1", first) is not None
    assert read_fixed_rules(project, "tg-2", first) is None
