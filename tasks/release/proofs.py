"""The chain of a registered version: its signed documents read back, its files and its tags held to them."""

import json
from pathlib import Path
from typing import Any

from tasks.core import tracking
from tasks.core.errors import DataContractError, TransientError
from tasks.core.files import read_json
from tasks.core.project import Project
from tasks.core.settings import PromoteParams
from tasks.proof.chain import Link, Policy, Proof, broken, examine, file_links
from tasks.proof.envelope import IN_TOTO, content, document_sha256
from tasks.proof.record import RECORD
from tasks.proof.stored import local_withdrawals, write_proof
from tasks.proof.trust import project_trust
from tasks.release.history import readable_history
from tasks.release.registry import APPROVAL, PREFIX, WITHDRAWAL, Registry, Version

RECORD_TAG = f"{PREFIX}record_sha256"
#: Tag -> where the record says the same. Tags are for looking at: one that differs was edited.
MIRRORED = {"lineage_id": "lineage_id", "verdict": "verdict", "demo": "demo", "requested_by": "requested_by"}
#: What every place asks.
ANYWHERE = Policy("demo", 0)
#: Where a version's files stand, beside the weights.
PARTS = ("release", "reports", "checkout")


def policy_of(params: PromoteParams) -> Policy:
    """Return what this project asks of a version."""
    return Policy(params.environment, params.approvals_required)


def read_record_envelope(project: Project, run: Any, number: str = "new") -> Any:
    """Return the envelope of a version's record, None where its run has none."""
    place = project.state / "serving" / "evidence" / number
    try:
        path = tracking.download(f"{run.info.artifact_uri}/{RECORD}", place)
    except TransientError:
        # A store that answers and does not have it: a version of an older release.
        if not _has_record(project, run):
            return None
        raise
    return read_json(path) if path.is_file() else None


def read_proof(registry: Registry, version: Version) -> Proof:
    """Return what was signed about a version.

    Raises:
        TransientError: MLflow or its artifact store does not answer.
    """
    if version.run_id is None:
        return Proof()
    with tracking.answering():
        run = registry.client.get_run(version.run_id)
    record = read_record_envelope(registry.project, run, version.number)
    withdrawals = [*version.envelopes(WITHDRAWAL), *local_withdrawals(registry.project)]
    return Proof(record, version.envelopes(APPROVAL), withdrawals, _champion_event(registry, version))


def record_sha256(proof: Proof) -> str | None:
    """Return the digest by which approvals refer to a record; None where there is none."""
    if proof.record is None:
        return None
    return document_sha256(content(proof.record, IN_TOTO))


def chain(
    registry: Registry, version: Version, policy: Policy, *, files: bool = False, weights: bool = False
) -> list[Link]:
    """Return the chain of a version, link by link.

    Args:
        policy: environment and approvals asked for.
        files: whether to read its files back.
        weights: whether the weights, too.

    Raises:
        ConfigError: infra/approvers.yaml cannot be relied on.
        TransientError: MLflow or its artifact store does not answer.
    """
    proof, trust = read_proof(registry, version), project_trust(registry.project)
    links = examine(proof, trust, policy)
    if links[0].holds:
        links.insert(1, _tags_link(version, proof))
        if files:
            links[2:2] = _stored_links(registry, version, proof, weights=weights)
    return links


def refused(registry: Registry, version: Version, policy: Policy) -> Link | None:
    """Return the first broken link of a version, without reading its files back; None where all hold."""
    return broken(chain(registry, version, policy))


def require_whole(registry: Registry, version: Version) -> None:
    """Refuse a version whose record does not hold, or whose files are not those of its record.

    Raises:
        DataContractError: names the first broken link; verdict and approvals are not asked for here.
    """
    links = chain(registry, version, ANYWHERE, files=True)
    if (link := broken(link for link in links if link.name not in ("gate", "approvals"))) is not None:
        raise DataContractError(f"version {version.number}: {link.name}: {link.words}",
                                f"tunegate verify {version.number}")  # fmt: skip


def deployed_proof(registry: Registry, version: Version) -> Path:
    """Write what was signed about a version where the host reads it, and return the folder."""
    folder = registry.project.state / "serving" / "proof" / version.number
    write_proof(folder, read_proof(registry, version))
    return folder


def _stored_links(registry: Registry, version: Version, proof: Proof, *, weights: bool) -> list[Link]:
    """Return the links of a version's files as its store gives them back."""
    record = content(proof.record, IN_TOTO)
    evidence = registry.project.state / "serving" / "evidence" / version.number
    places = dict.fromkeys(PARTS, evidence)
    if weights:
        places["model"] = registry.project.state / "serving" / "models" / version.number
    with tracking.answering():
        root = registry.client.get_run(version.run_id).info.artifact_uri
    found = {part: tracking.download(f"{root}/{part}", place) for part, place in places.items()}
    links = file_links(record, found, weights=weights)
    return links


def _tags_link(version: Version, proof: Proof) -> Link:
    """Return whether the tags say what the record says: they decide nothing, but people read them."""
    record = content(proof.record, IN_TOTO)
    predicate = record["predicate"]
    said = {name: predicate[where] for name, where in MIRRORED.items()}
    said |= {"awq_manifest_sha256": predicate["digests"].get("weights"), "record_sha256": document_sha256(record)}
    for name, expected in said.items():
        text = json.dumps(expected) if isinstance(expected, bool) else str(expected)
        if version.tags.get(f"{PREFIX}{name}") != text:
            shown = version.tags.get(f"{PREFIX}{name}")
            return Link("tags", False, f"tag {name} was edited: it says {shown}, the signed record {text}")
    return Link("tags", True, f"{len(said)} tags say what the record says")


def _champion_event(registry: Registry, version: Version) -> dict[str, Any]:
    """Return the signed entry from which a version was champion last; nothing where it never was."""
    events, _ = readable_history(registry)
    for event in reversed(events):
        if event.version == version.number and event.signature:
            return {**event.row(), "model": registry.name}
    return {}


def _has_record(project: Project, run: Any) -> bool:
    """Return whether a run's store lists a record."""
    client = tracking.client(project)
    return RECORD in {item.path for item in client.list_artifacts(run.info.run_id, str(Path(RECORD).parent))}
