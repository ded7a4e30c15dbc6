"""Signed records for what tests have a host serve without a registry."""

from dataclasses import replace

from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.proof.chain import Proof
from tasks.proof.envelope import IN_TOTO, sign
from tasks.proof.record import statement
from tasks.proof.signers import machine_signer
from tasks.proof.stored import write_proof


def proven(project: Project, deployment: Deployment, **changes: object) -> Deployment:
    """Return a deployment with the record that registering it would have made."""
    predicate = {
        "model": "m", "lineage_id": deployment.lineage_id, "requested_by": "王工", "verdict": "PASS", "demo": True,
        "rules": {"sha256": "0" * 64, "fixed_sha256": None, "changed": False, "signed": None},
        "digests": {"weights": deployment.manifest_sha256} if deployment.manifest_sha256 else {},
    } | changes  # fmt: skip
    folder = project.state / "serving" / "proof" / deployment.version
    write_proof(folder, Proof(sign(IN_TOTO, statement({}, predicate), machine_signer(project, "release"))))
    return replace(deployment, proof=folder)
