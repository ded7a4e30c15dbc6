"""The host's own look at what was signed about a version, before any of it is started, whoever asks for it."""

from tasks.core.errors import DataContractError
from tasks.core.params.release import PromoteParams
from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.proof.chain import Link, Policy, broken, examine
from tasks.proof.envelope import IN_TOTO, content
from tasks.proof.stored import local_proof
from tasks.proof.trust import project_trust


def require_proven(project: Project, params: PromoteParams, deployment: Deployment) -> None:
    """Refuse a version whose chain does not hold, or which is not the one that the record names.

    Raises:
        DataContractError: names the first broken link.
        ConfigError: infra/approvers.yaml cannot be relied on.
    """
    policy = Policy(params.environment, params.approvals_required)
    proof = local_proof(project, deployment.proof)
    links = examine(proof, project_trust(project), policy)
    if links[0].holds:
        predicate = content(proof.record, IN_TOTO)["predicate"]
        named = (predicate["lineage_id"], predicate["digests"].get("weights"))
        same = named == (deployment.lineage_id, deployment.manifest_sha256)
        links.insert(1, Link("weights", same, f"the record is of {named[0]}, and of other weights than these"))
    if (link := broken(links)) is not None:
        raise DataContractError(f"version {deployment.version} is not started: {link.name}: {link.words}",
                                f"tunegate verify {deployment.version}; after an update: tunegate run")  # fmt: skip
