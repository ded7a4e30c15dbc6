"""Named approvals, and whether a version may go live."""

import json
from datetime import UTC, datetime

from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError, GateFailedError
from tasks.core.settings import PromoteParams
from tasks.release.registry import PREFIX, Registry, Version


def approve(registry: Registry, number: str, by: str, reason: str) -> Version:
    """Add a named approval to a version and return it.

    Raises:
        ConfigError: no name, no reason, or this person approved already.
        GateFailedError: the version has no PASS; there is nothing to approve.
    """
    version = registry.version(number)
    by, reason = by.strip(), reason.strip()
    if not by or not reason:
        raise ConfigError("an approval needs a name and a reason", f"tunegate approve {number} --by NAME --reason TEXT")
    if version.verdict != "PASS":
        raise GateFailedError(
            f"version {number} has verdict {version.verdict}; only a PASS can be approved",
            "read its dossier, then tunegate run",
        )
    if by in {item["by"] for item in version.approvals}:
        raise ConfigError(f"{by} approved version {number} already", f"tunegate promote {number}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    approval = json.dumps({"by": by, "reason": reason, "time": now}, ensure_ascii=False)
    registry.tag(number, f"approval.{sha256_json([by, now])[:12]}", approval)
    return registry.version(number)


def refusal(version: Version, params: PromoteParams) -> str | None:
    """Return why a version may not be served, or None when it may.

    Args:
        version: the version somebody wants to be champion.
        params: approvals asked for, and whether this deployment is production.
    """
    if version.verdict != "PASS":
        return f"its gate verdict is {version.verdict}, not PASS"
    if version.pruned:
        return f"its weights were deleted on {version.pruned} (tunegate versions prune)"
    if not version.tags.get(f"{PREFIX}awq_manifest_sha256") or not version.lineage_id:
        return "it was not registered by Tunegate: no lineage"
    if params.environment == "production" and version.demo:
        why = "stand-in set, limit, laptop profile, or base_model.digest: null"
        return f"its verdict is marked demo ({why}) and this deployment is production"
    names = {item["by"] for item in version.approvals}
    if len(names) < params.approvals_required:
        return f"it has {len(names)} of {params.approvals_required} approvals"
    if params.approvals_required >= 2 and len(names - {version.tags.get(f"{PREFIX}requested_by")}) < 1:
        return "the requester is its only approver"
    return None
