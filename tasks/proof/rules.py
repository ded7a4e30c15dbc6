"""The gate's rules as they stood when training began: written and signed then, before anybody knew how it would go."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.core.settings import GateParams
from tasks.proof.envelope import RULES, sign
from tasks.proof.signers import machine_signer


def fix_rules(project: Project, params: GateParams, lineage_id: str, *, resumed: bool) -> str:
    """Sign the rules for a training that begins, and return their digest.

    Args:
        lineage_id: of the adapter that is to be trained.
        resumed: whether it goes on from a checkpoint: then the rules of its beginning stay.
    """
    folder = _folder(project, lineage_id)
    digest, last = params.digest(), folder / "last.json"
    if resumed and last.is_file():
        return str(read_json(last)["rules_sha256"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"lineage_id": lineage_id, "rules_sha256": digest, "rules": params.model_dump(mode="json"), "time": now}
    path = folder / f"{digest}.dsse.json"
    if not path.is_file():
        write_json(path, sign(RULES, document, machine_signer(project, "release")))
    write_json(last, {"rules_sha256": digest})
    return digest


def read_fixed_rules(project: Project, lineage_id: str, digest: str | None) -> Any:
    """Return the signed rules that a training names; None where it was made elsewhere, or by an older release."""
    path = _folder(project, lineage_id) / f"{digest}.dsse.json"
    return read_json(path) if path.is_file() else None


def keep_fixed_rules(project: Project, lineage_id: str, digest: str, envelope: Any) -> None:
    """Keep the rules that another machine signed when its training began; `register` checks them like its own."""
    folder = _folder(project, lineage_id)
    write_json(folder / f"{digest}.dsse.json", envelope)
    write_json(folder / "last.json", {"rules_sha256": digest})


def _folder(project: Project, lineage_id: str) -> Path:
    """Return where the rules of a training are kept: all that it was ever begun with."""
    return project.state / "signing" / "rules" / lineage_id
