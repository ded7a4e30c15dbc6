"""The bill of materials: what it names, and that the same materials give the same bytes."""

import json

from tasks.core.digest import sha256_file
from tasks.core.files import read_json
from tasks.proof.sbom import Materials, lock_digests, ml_bom
from tests.unit.made_run import MADE, parts
from tests.unit.release.conftest import ROOT

LOCK = ROOT / "infra/environments/pipeline.lock"


def bom() -> dict:
    locks = {"pipeline.lock": (sha256_file(LOCK), LOCK.read_text("utf-8"))}
    summary = read_json(MADE / "summary.json")
    metrics = {"awq": {"ceval_accuracy": 0.25}}
    return ml_bom(Materials("m", "tg-1", parts(), locks, summary, metrics, {"model.safetensors": "a" * 64}))


def test_every_locked_package_is_a_component_and_the_lock_is_named():
    found = bom()
    assert lock_digests(found) == {"pipeline.lock": sha256_file(LOCK)}
    libraries = {one["purl"] for one in found["components"] if one["type"] == "library"}
    lines = [line for line in LOCK.read_text("utf-8").splitlines() if "==" in line]
    assert len(libraries) == len(lines)
    assert "pkg:pypi/cryptography@50.0.2" in libraries


def test_model_card_data_and_what_became_of_the_rows():
    found = bom()
    component = found["metadata"]["component"]
    assert (found["specVersion"], component["type"]) == ("1.6", "machine-learning-model")
    references = {one["bom-ref"] for one in found["components"]}
    assert len(references) == len(found["components"])
    assert {one["ref"] for one in component["modelCard"]["modelParameters"]["datasets"]} <= references
    assert set(found["dependencies"][0]["dependsOn"]) == references
    (metric,) = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metric == {"type": "awq.ceval_accuracy", "value": "0.250000"}
    rows = {one["name"]: one["value"] for one in component["properties"]}
    assert rows["tunegate:rows:kept"] == "641"
    assert rows["tunegate:rows:dropped:eval_leak"] == "3"
    assert rows["tunegate:weights:model.safetensors"] == "a" * 64


def test_the_same_materials_give_the_same_bytes():
    assert json.dumps(bom()) == json.dumps(bom())
