"""Everything the dossier and the model card say, gathered from the evidence of a run; nothing is computed twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, read_jsonl
from tasks.core.layout import HOPS
from tasks.core.manifest import read_manifest
from tasks.core.settings import BaseModelParams, Hardware, PromoteParams
from tasks.dossier.cost import cost_facts
from tasks.dossier.data import data_facts
from tasks.dossier.evidence import (
    agreement_facts,
    approval_facts,
    before_signing,
    heldout_row,
    not_tested,
    parity_facts,
    quantization_facts,
    served_facts,
)
from tasks.dossier.reviews import review_facts
from tasks.dossier.safety import safety_facts
from tasks.dossier.scores import concept_facts, exam_facts, language_facts
from tasks.gate.words import next_step
from tasks.models.files import read_losses


@dataclass(frozen=True)
class Folders:
    """Where the evidence is."""

    reports: dict[str, Path]
    gate: Path
    prepared: Path
    validation: Path
    adapter: Path
    awq: Path
    runs: Sequence[Path] = ()
    reviews: Path | None = None


def collect(
    folders: Folders,
    *,
    title: str,
    profile: str,
    hardware: Hardware,
    base_model: BaseModelParams,
    promote: PromoteParams | None = None,
) -> dict[str, Any]:
    """Return the facts of a run by topic.

    Args:
        folders: where the evidence is.
        title: heading of the page.
        profile: name of the active profile.
        hardware: what the profile is meant for.
        base_model: what was fine-tuned.
        promote: approvals that a promotion asks for.

    Raises:
        DataContractError: a file that every finished run has is absent or damaged.
    """
    verdict = read_json(folders.gate / "verdict.json")
    results = {hop: read_json(folders.reports[hop] / "results.json") for hop in HOPS}
    validation = read_json(folders.validation / "validation.json")
    manifest = read_manifest(folders.awq)
    facts = {
        "title": title,
        "profile": profile,
        "verdict": verdict,
        "rules": sorted(verdict["rules"], key=_rule_place),
        "next": next_step(verdict),
        "base_model": _base_model(base_model, manifest),
        "data": data_facts(folders.prepared, validation),
        "validation": validation,
        "approvals": approval_facts(promote),
        "signatures": max(1, promote.approvals_required if promote else 1),
        "lineage": {"id": manifest["lineage_id"], "parts": _parts(manifest), "weights": _weights(manifest)},
        "reviews": review_facts(folders.reviews, manifest["lineage_id"]),
        **_scores(folders, verdict, results),
        **_models(folders, verdict, results),
    }
    facts["before_signing"] = before_signing(facts)
    facts["not_tested"] = not_tested(facts, hardware, results)
    return facts


def _rule_place(rule: dict[str, Any]) -> tuple[bool, int]:
    """Return where a rule stands: what stops a release first, and of those what is not passed first."""
    return rule["severity"] != "block", ("FAIL", "INCONCLUSIVE", "PASS").index(rule["outcome"])


def _scores(folders: Folders, verdict: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Return what the evaluations found."""
    samples = {hop: list(read_jsonl(folders.reports[hop] / "samples.jsonl")) for hop in HOPS}
    heldout = heldout_row(results)
    return {
        "hop_rows": [*verdict["hops"], *([heldout] if heldout else [])],
        "agreement": agreement_facts(verdict),
        "exams": exam_facts(results),
        "concepts": concept_facts(samples),
        "languages": language_facts(samples, verdict["hops"]),
        "judge": {hop: report["judge"] for hop, report in results.items() if report.get("judge")},
        "safety": safety_facts(samples, folders.prepared),
        "served": served_facts(results),
        "parity": parity_facts(results),
    }


def _models(folders: Folders, verdict: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Return what training and quantization left, and what the run cost."""
    training = read_json(folders.adapter / "training.json")
    quantization = read_json(folders.awq / "quantization.json")
    return {
        "training": training,
        "losses": read_losses(folders.adapter / "loss.csv"),
        "rates": read_losses(folders.adapter / "loss.csv", "learning_rate"),
        "quantization": quantization_facts(quantization, verdict),
        "cost": cost_facts(folders.runs, training, quantization, results),
    }


def _base_model(base_model: BaseModelParams, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what the base model is, and the licence that binds what is made from it."""
    packaged = base_model.source == "packaged"
    digests = manifest["parts"].get("base_model", {})
    return {
        "id": base_model.id,
        "source": base_model.source,
        "revision": base_model.revision,
        "digest": base_model.digest or digests.get(base_model.id) or "not recorded",
        "dequantized": packaged,
        "hub_id": "HuggingFaceTB/SmolLM2-135M-Instruct" if packaged else base_model.id,
        "licence": "apache-2.0" if packaged else "other",
    }


def _parts(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Return what the model was made from: kind, name, digest."""
    return [
        {"kind": kind, "name": name, "digest": digest}
        for kind, digests in sorted(manifest["parts"].items())
        for name, digest in sorted(digests.items())
    ]


def _weights(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Return name and digest of each weight file of the quantized model."""
    return [{"name": name, "digest": digest} for name, digest in sorted(manifest["files"].items())
            if name.endswith(".safetensors")]  # fmt: skip
