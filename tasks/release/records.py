"""A version's release record, made and signed when it is registered, from what the stages left in this checkout."""

import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.digest import file_digests, sha256_file
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, HOPS, MERGED, PREPARED, VALIDATION, report_of
from tasks.core.manifest import MANIFEST, read_manifest
from tasks.core.project import Project
from tasks.proof.envelope import IN_TOTO, RULES, opened, sign
from tasks.proof.record import LOCKS, MANIFESTS, RECORD, SBOM, statement
from tasks.proof.record import RULES as RULES_FILE
from tasks.proof.rules import read_fixed_rules
from tasks.proof.sbom import Materials, ml_bom
from tasks.proof.signers import machine_signer
from tasks.proof.trust import project_trust

log = logging.getLogger(__name__)

#: Maker's input -> where it lies; their manifests go with the version, the weights' own names theirs.
MADE_FROM = {"prepared": PREPARED, "adapter": ADAPTER, "merged": MERGED}
ENVIRONMENTS = "infra/environments"
LOCK_FILES = ("pipeline.lock", "serve.lock", "serve-cuda.lock")


def prepare_record_files(project: Project, model: str, folder: Path) -> None:
    """Write what belongs to a record beside it: locks, manifests of what it was made from, bill of materials, rules.

    Args:
        folder: becomes `release` among the version's files.

    Raises:
        DataContractError: the model was made from another adapter, or from other data, than lie here.
    """
    root = project.root
    _require_made_from(root)
    for name in LOCK_FILES:
        if (root / ENVIRONMENTS / name).is_file():
            _copy(root / ENVIRONMENTS / name, _place(folder, LOCKS) / name)
    for name, path in MADE_FROM.items():
        if (root / path / MANIFEST).is_file():
            _copy(root / path / MANIFEST, _place(folder, MANIFESTS) / f"{name}.json")
    adapter = read_manifest(root / ADAPTER)
    rules = read_fixed_rules(project, adapter["lineage_id"], adapter.get("rules_sha256"))
    if rules is not None:
        write_json(_place(folder, RULES_FILE), rules)
    write_json(_place(folder, SBOM), ml_bom(_materials(root, model)))


def write_record(
    project: Project, model: str, evidence: str, folder: Path, files: Mapping[str, str], *, by: str,
    code: dict[str, Any],
) -> None:  # fmt: skip
    """Sign the record of a version and write it into its `release` folder.

    Args:
        evidence: digest of the evidence.
        files: {path among the version's files: SHA-256}.
        by: who asked for the run.
        code: facts of the checkout.

    Raises:
        DataContractError: the reports are of different versions: there is nothing that could be signed.
    """
    root = project.root
    lineage_id = read_manifest(root / AWQ)["lineage_id"]
    for path in (GATE, DOSSIER):
        if (other := read_manifest(root / path)["lineage_id"]) != lineage_id:
            raise DataContractError(f"{path} is of {other}, the model of {lineage_id}", "tunegate run")
    verdict = read_json(root / GATE / "verdict.json")
    predicate = {
        "model": model,
        "lineage_id": lineage_id,
        "evidence_sha256": evidence,
        "requested_by": by,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": verdict["verdict"],
        "demo": verdict["demo"],
        "demo_reasons": verdict.get("demo_reasons", []),
        "rules": _rules(project, verdict),
        "code": {"commit": code["commit"], "changed": code["changed"]},
        "digests": _digests(root),
        "parts": read_manifest(root / AWQ)["parts"],
    }
    signer = machine_signer(project, "release")
    write_json(_place(folder, RECORD), sign(IN_TOTO, statement(files, predicate), signer))
    log.info("register: release record signed with key %s", signer.public.key_id)


def _place(folder: Path, path: str) -> Path:
    """Return where a file of the `release` folder lies."""
    return folder / Path(path).relative_to("release")


def _copy(source: Path, target: Path) -> None:
    """Copy a file into a folder that may not exist yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _require_made_from(root: Path) -> None:
    """Refuse a model whose manifest names another maker's input than lies here."""
    for maker in (AWQ, MERGED):
        if not (root / maker / MANIFEST).is_file():
            # Merged weights are rebuilt where they are needed.
            continue
        for name, named in (read_manifest(root / maker).get("inputs") or {}).items():
            path = MADE_FROM.get(name)
            here = root / path / MANIFEST if path else None
            if here and here.is_file() and sha256_file(here) != named["manifest_sha256"]:
                raise DataContractError(f"{maker} was not made from the {name} in {path}", "tunegate run")


def _digests(root: Path) -> dict[str, str]:
    """Return {name: SHA-256 of its manifest} of every output a version was made from or judged by."""
    places = {"weights": AWQ, "adapter": ADAPTER, "merged": MERGED, "data": PREPARED, "verdict": GATE,
              "dossier": DOSSIER, "validation": VALIDATION}  # fmt: skip
    places |= {f"evaluation/{hop}": report_of(hop) for hop in HOPS}
    return {name: sha256_file(root / path / MANIFEST) for name, path in places.items()
            if (root / path / MANIFEST).is_file()}  # fmt: skip


def _rules(project: Project, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return by which rules a version was judged, and what was fixed before its training."""
    adapter = read_manifest(project.root / ADAPTER)
    judged, fixed = verdict.get("rules_sha256"), adapter.get("rules_sha256")
    envelope = read_fixed_rules(project, adapter["lineage_id"], fixed)
    signed = None
    if envelope is not None:
        trust = project_trust(project)
        document, keys = opened(envelope, RULES, trust.keys_for("release", "demo"))
        if (document["rules_sha256"], document["lineage_id"]) != (fixed, adapter["lineage_id"]):
            raise DataContractError("the rules signed before training are not those that the adapter names",
                                    "tunegate run, from training on")  # fmt: skip
        signed = {"by": keys, "time": document["time"]}
    return {"sha256": judged, "fixed_sha256": fixed, "changed": bool(fixed) and fixed != judged, "signed": signed}


def _materials(root: Path, model: str) -> Materials:
    """Return what the version is made of."""
    manifest = read_manifest(root / AWQ)
    locks = {name: (sha256_file(path), path.read_text(encoding="utf-8"))
             for name in LOCK_FILES if (path := root / ENVIRONMENTS / name).is_file()}  # fmt: skip
    summary = root / PREPARED / "summary.json"
    metrics = {hop: read_json(root / report_of(hop) / "results.json")["metrics"] for hop in HOPS}
    weights = {name: digest for name, digest in manifest["files"].items() if name.endswith(".safetensors")}
    return Materials(
        model, manifest["lineage_id"], manifest["parts"], locks, read_json(summary) if summary.is_file() else {},
        metrics, weights,
    )  # fmt: skip


def digests_of(sources: Mapping[str, Path]) -> dict[str, str]:
    """Return {path among a version's files: SHA-256} of what is to be stored."""
    found = {path: file_digests(source) for path, source in sources.items()}
    return {f"{path}/{name}": digest for path, files in found.items() for name, digest in files.items()}
