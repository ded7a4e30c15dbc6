"""A version out of a registry into one file, and out of a file into another registry."""

import json
import logging
from pathlib import Path
from typing import Any

from tasks.core import tracking
from tasks.core.digest import file_digests
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.layout import HOPS
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.proof.bundle import links_of, opened_bundle, write_bundle
from tasks.proof.chain import Proof, broken
from tasks.proof.envelope import IN_TOTO, content, document_sha256
from tasks.proof.keys import Signer
from tasks.proof.model_signing import model_signature, public_pem
from tasks.proof.record import files_of
from tasks.proof.trust import project_trust
from tasks.release import version_files
from tasks.release.champion import record
from tasks.release.proofs import ANYWHERE, RECORD_TAG, read_proof, require_whole
from tasks.release.registry import CHECKOUT, MODEL, PREFIX, Registry, Version

log = logging.getLogger(__name__)

BELOW = f"{MODEL}/"


def bundle(registry: Registry, version: Version, target: Path, *, weights: bool) -> None:
    """Write a version into one file.

    Raises:
        ConfigError: the file is there already, or weights that were deleted are asked for.
        DataContractError: the version's record or files do not hold: nothing broken is given away.
    """
    require_whole(registry, version)
    evidence = registry.project.state / "serving" / "evidence" / version.number
    parts = {part: registry.files(version, part, evidence) for part in ("release", "reports", CHECKOUT)}
    # Weights are checked byte by byte only where they go with it; their manifest alone otherwise.
    parts[MODEL] = registry.weights(version)
    write_bundle(target, parts, read_proof(registry, version), weights=weights)


def sign_weights(registry: Registry, version: Version, target: Path, signer: Signer) -> tuple[Path, Path]:
    """Sign a version's weights in OpenSSF's format, and return their folder and the file with the public key.

    The files are those of the signed record, so the signature says of no others that they are this version's.

    Args:
        target: where the signature goes; the public key goes beside it, as `.pub`.

    Raises:
        ConfigError: the file is there already, the key is no P-256 key, or the weights were deleted.
        DataContractError: the version's record or files do not hold: nothing broken is signed.
    """
    public = target.with_name(f"{target.name}.pub")
    if taken := [path for path in (target, public) if path.exists()]:
        raise ConfigError(f"{taken[0]} exists already", "name another file")
    pem = public_pem(signer.public)
    require_whole(registry, version)
    folder = registry.weights(version)
    named = files_of(content(read_proof(registry, version).record, IN_TOTO))
    files = {name.removeprefix(BELOW): digest for name, digest in named.items() if name.startswith(BELOW)}
    if file_digests(folder) != files:
        raise DataContractError(f"the weights of version {version.number} are not those of its record",
                                f"tunegate verify {version.number}")  # fmt: skip
    write_json(target, model_signature(f"{registry.name} {version.number}", files, signer))
    public.write_bytes(pem)
    return folder, public


def install(project: Project, settings: Settings, path: Path) -> Version:
    """Register the version in a bundle here, with its approvals; the same one is registered once.

    Raises:
        DataContractError: the bundle does not hold by this site's own infra/approvers.yaml.
        ConfigError: it has no weights.
    """
    registry = Registry(project, settings.register_.model_name)
    with opened_bundle(path) as (proof, parts, has_weights):
        links = links_of(proof, parts, project_trust(project), ANYWHERE, weights=has_weights)
        if (link := broken(one for one in links if one.name not in ("gate", "approvals"))) is not None:
            raise DataContractError(f"{path}: {link.name}: {link.words}", f"tunegate verify {path}")
        if not has_weights:
            raise ConfigError(f"{path} has no weights", "tunegate bundle VERSION --to FILE --weights")
        statement = content(proof.record, IN_TOTO)
        evidence = statement["predicate"]["evidence_sha256"]
        version = registry.by_evidence(evidence) or _registered(project, registry, statement, parts)
        _bring(registry, version, proof)
    version = registry.version(version.number)
    require_whole(registry, version)
    log.info("install: %s", record(registry, settings.gate, version)["words"])
    return registry.version(version.number)


def _registered(project: Project, registry: Registry, statement: dict[str, Any], parts: dict[str, Path]) -> Version:
    """Store the files of a bundle and make a version of them."""
    predicate = statement["predicate"]
    digests = {f"{part}/{name}": digest for part, folder in parts.items()
               for name, digest in file_digests(folder).items()}  # fmt: skip
    commit = {f"{PREFIX}git_commit": str(predicate["code"]["commit"])}
    run = version_files.store(project, registry.client, predicate["evidence_sha256"], parts, commit, digests)
    tracking.create_registered_model(registry.client, registry.name)
    tags = {
        "lineage_id": predicate["lineage_id"], "verdict": predicate["verdict"], "demo": json.dumps(predicate["demo"]),
        "awq_manifest_sha256": predicate["digests"]["weights"], "requested_by": predicate["requested_by"],
        "parts": json.dumps(predicate["parts"], sort_keys=True), "git_commit": commit[f"{PREFIX}git_commit"],
        "training_run_id": "",
    }  # fmt: skip
    for hop in HOPS:
        metrics = read_json(parts["reports"] / "eval" / hop / "results.json")["metrics"]
        tags |= {f"metric.{hop}.{name}": f"{value:.6f}" for name, value in metrics.items()}
    stored = {name: run.data.tags[name] for name in (version_files.EVIDENCE, version_files.CONTENTS_SHA256)}
    named = stored | {f"{PREFIX}{name}": value for name, value in tags.items()}
    made = registry.client.create_model_version(
        registry.name, source=f"{run.info.artifact_uri}/{MODEL}", run_id=run.info.run_id,
        tags=named | {RECORD_TAG: document_sha256(statement)},
    )  # fmt: skip
    return registry.version(str(made.version))


def _bring(registry: Registry, version: Version, proof: Proof) -> None:
    """Put approvals and withdrawals of a bundle on a version; which of them count is decided where it is promoted."""
    for kind, envelopes in (("approval", proof.approvals), ("withdrawal", proof.withdrawals)):
        for envelope in envelopes:
            name = document_sha256(envelope)[:12]
            registry.tag(version.number, f"{kind}.{name}", json.dumps(envelope, ensure_ascii=False))
