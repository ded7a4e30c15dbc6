"""Signed approvals and withdrawals, and whether a version may go live."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.errors import ConfigError, DataContractError, GateFailedError
from tasks.core.settings import PromoteParams
from tasks.proof.approval import (
    AGAIN,
    Counted,
    approval_document,
    approval_id,
    make_approval,
    make_withdrawal,
)
from tasks.proof.chain import broken, counted_approvals
from tasks.proof.envelope import IN_TOTO, content, document_sha256
from tasks.proof.github import is_token, why_stale
from tasks.proof.keys import Signer
from tasks.proof.record import read_record
from tasks.proof.stored import keep_withdrawal
from tasks.proof.terms import LIVES
from tasks.proof.trust import Trust, project_trust
from tasks.release.issuer_keys import fetch_key
from tasks.release.proofs import chain, policy_of, read_proof, record_sha256, refused
from tasks.release.registry import Registry, Version

log = logging.getLogger(__name__)


def approve(
    registry: Registry, number: str, params: PromoteParams, signer: Signer, reason: str, *, role: str | None = None,
    lives: timedelta = LIVES,
) -> Version:  # fmt: skip
    """Sign an approval of a version with a person's key, and return the version.

    Raises:
        ConfigError: the key is of nobody listed, the role is not theirs, there is no reason, or it does not count.
        GateFailedError: the version has no PASS, or its record or files do not hold; there is nothing to approve.
    """
    version = registry.version(number)
    require_approvable(registry, version, params)
    made = sign_approval(registry, number, params, signer, reason, role=role, lives=lives)
    return _kept(registry, version, params, made)


def sign_approval(
    registry: Registry, number: str, params: PromoteParams, signer: Signer, reason: str, *, role: str | None = None,
    lives: timedelta = LIVES,
) -> dict[str, Any]:  # fmt: skip
    """Return a signed approval of a registered version; it is kept nowhere.

    Raises:
        ConfigError: the key is of nobody listed, the role is not theirs, or there is no reason.
    """
    version = registry.version(number)
    digest = record_sha256(read_proof(registry, version))
    if digest is None:
        raise ConfigError(f"version {number} has no release record", f"tunegate verify {number}")
    return make_approval(
        signer, project_trust(registry.project), record_sha256=digest, lineage_id=version.lineage_id,
        environment=params.environment, role=role, reason=reason, lives=lives,
    )  # fmt: skip


def sign_record(
    record: Any, trust: Trust, environment: str, signer: Signer, reason: str, *, role: str | None = None,
    lives: timedelta = LIVES,
) -> dict[str, Any]:  # fmt: skip
    """Return a signed approval of a record that lies here as a file: where its signer has no registry.

    Args:
        record: envelope of the record.
        trust: whose keys are listed.

    Raises:
        ConfigError: it is no record, the key is of nobody listed, the role is not theirs, or there is no reason.
    """
    try:
        document = content(record, IN_TOTO)
        lineage_id = document["predicate"]["lineage_id"]
        read_record(record, trust.keys_for("release", environment))
    except DataContractError as error:
        if "not listed" not in error.message:
            raise ConfigError(f"this is no release record: {error.message}", "take it from the page again") from error
        # A demonstration's machine is not listed. Who takes the approval holds the record to its own list.
        log.warning("the record's own signature cannot be told here: %s", error.message)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"this is no release record: {type(error).__name__}", "take it from the page") from error
    return make_approval(
        signer, trust, record_sha256=document_sha256(document), lineage_id=lineage_id, environment=environment,
        role=role, reason=reason, lives=lives,
    )  # fmt: skip


def take(registry: Registry, number: str, params: PromoteParams, envelope: Any) -> Version:
    """Keep a signed approval of a version: what every door does, after the check that a promotion makes.

    Args:
        envelope: what somebody signed, wherever.

    Raises:
        ConfigError: it does not count; the message says why.
        GateFailedError: the version has no PASS, or its record or files do not hold; there is nothing to approve.
    """
    version = registry.version(number)
    require_approvable(registry, version, params)
    return _kept(registry, version, params, envelope)


def _kept(registry: Registry, version: Version, params: PromoteParams, envelope: Any) -> Version:
    """Keep an approval of a version that can be approved, where it counts."""
    number = version.number
    fetch_key(registry.project, envelope)
    proof = read_proof(registry, version)
    # Valid now, not when the version was champion; in its place behind those that are there.
    given = replace(proof, approvals=[*proof.approvals, envelope], champion={})
    one = counted_approvals(given, project_trust(registry.project), params.environment)[-1]
    if one.why_not == AGAIN:
        raise ConfigError(f"{one.by} approved version {number} already", f"tunegate promote {number}")
    if why := one.why_not or (why_stale(envelope, datetime.now(UTC)) if is_token(envelope) else None):
        raise ConfigError(f"the approval of {one.by} ({one.approval_id}) does not count for version {number}: {why}",
                          f"tunegate approve {number} --serve shows what to sign")  # fmt: skip
    registry.tag(number, f"approval.{one.approval_id}", json.dumps(envelope, ensure_ascii=False))
    return registry.version(number)


def missing_approvals(found: Sequence[Counted], params: PromoteParams) -> int:
    """Return how many approvals are still wanted, of those that `count_approvals` found."""
    return max(0, params.approvals_required - sum(one.why_not is None for one in found))


def is_kept(version: Version, envelope: Any) -> bool:
    """Return whether a version has this very approval already: a run that starts again gives it again."""
    return approval_id(approval_document(envelope)) in _ids(version)


def require_approvable(registry: Registry, version: Version, params: PromoteParams) -> None:
    """Refuse a version that nobody can approve.

    Raises:
        GateFailedError: it has no PASS, or its record or files do not hold.
    """
    links = chain(registry, version, policy_of(params), files=True)
    if (link := broken(one for one in links if one.name != "approvals")) is not None:
        words = f"version {version.number} cannot be approved: {link.words}"
        raise GateFailedError(words, f"tunegate verify {version.number}")


def count_approvals(registry: Registry, version: Version, params: PromoteParams) -> list[Counted]:
    """Return what becomes of each approval of a version.

    Raises:
        DataContractError: its record does not hold.
    """
    return counted_approvals(read_proof(registry, version), project_trust(registry.project), params.environment)


def withdraw(registry: Registry, what: str, signer: Signer, reason: str) -> list[str]:
    """Withdraw all approvals of a version, or one by its id; return the numbers of the versions it concerns.

    It is kept with the versions and on this machine.

    Raises:
        ConfigError: there is no such version or approval, the key is of nobody listed, or there is no reason.
    """
    found = {version.number: _ids(version) for version in registry.versions()}
    if what in found:
        withdraws, numbers = record_sha256(read_proof(registry, registry.version(what))), [what]
    else:
        withdraws, numbers = what, [number for number, ids in found.items() if what in ids]
    if not numbers or withdraws is None:
        raise ConfigError(f"{what} is neither a version with a record nor an approval", "tunegate verify VERSION")
    made = make_withdrawal(signer, project_trust(registry.project), withdraws=withdraws, reason=reason)
    keep_withdrawal(registry.project, made)
    for number in numbers:
        registry.tag(number, f"withdrawal.{withdraws[:12]}", json.dumps(made, ensure_ascii=False))
    return numbers


def refusal(registry: Registry, version: Version, params: PromoteParams) -> str | None:
    """Return why a version may not be served, or None when it may; its bytes are looked at when it is deployed.

    Args:
        version: the version somebody wants to be champion.
        params: environment and approvals asked for.
    """
    if version.pruned:
        return f"its weights were deleted on {version.pruned} (tunegate versions prune)"
    if not version.lineage_id:
        return "it was not registered by Tunegate: no lineage"
    link = refused(registry, version, policy_of(params))
    if link is None:
        return None
    return link.words if link.name in ("gate", "approvals") else f"{link.name}: {link.words}"


def _ids(version: Version) -> list[str]:
    """Return the ids of a version's approvals."""
    found = []
    for envelope in version.envelopes("tunegate.approval."):
        try:
            found.append(approval_id(approval_document(envelope)))
        except DataContractError:
            continue
    return found
