"""What the page shows of a version: record, chain, verdict, who approved, what is missing, what to sign."""

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.errors import DataContractError, TunegateError
from tasks.core.files import read_json
from tasks.core.layout import DOSSIER, GATE
from tasks.core.settings import PromoteParams
from tasks.proof.approval import Counted
from tasks.proof.chain import Link, broken, counted_approvals
from tasks.proof.envelope import IN_TOTO, canonical, content, document_sha256
from tasks.proof.record import files_of, read_record
from tasks.proof.trust import Trust, project_trust
from tasks.release.approvals import missing_approvals
from tasks.release.proofs import chain, policy_of, read_proof
from tasks.release.registry import Registry, Version
from tasks.release.version_evidence import registered

#: Links that do not speak of the files: where another one is broken, nothing of the files is shown as the version's.
NOT_FILES = frozenset({"gate", "rules", "approvals"})
PAGE = "index.html"


def page_facts(registry: Registry, number: str, params: PromoteParams) -> dict[str, Any]:
    """Return all that the template names.

    Raises:
        ConfigError: there is no such version.
        DataContractError: its record does not hold: there is nothing to show.
        TransientError: MLflow or its artifact store does not answer.
    """
    version = registry.version(number)
    links = chain(registry, version, policy_of(params), files=True)
    if not links[0].holds:
        raise DataContractError(f"version {number}: record: {links[0].words}", f"tunegate verify {number}")
    proof, trust = read_proof(registry, version), project_trust(registry.project)
    record, found = content(proof.record, IN_TOTO), counted_approvals(proof, trust, params.environment)
    whole = broken(link for link in links if link.name not in NOT_FILES) is None
    good = [one for one in found if one.why_not is None]
    return {
        "number": number,
        "model": registry.name,
        "environment": params.environment,
        "record": record["predicate"],
        "files": len(record["subject"]),
        "links": links,
        "whole": whole,
        "stopped": _stopped(links),
        "verdict": read_verdict(registry, version) if whole else None,
        "approvals": found,
        "counting": len(good),
        "required": params.approvals_required,
        "missing": missing_approvals(found, params),
        "may": may_approve(trust, good, record["predicate"]["requested_by"]),
        **to_sign(number, params, record),
    }


def read_verdict(registry: Registry, version: Version) -> dict[str, Any]:
    """Return verdict.json as it was registered; what an older release did not write is empty."""
    verdict: dict[str, Any] = read_json(registered(registry, version, GATE.removeprefix("data/")) / "verdict.json")
    return {"summary_words": "", "summary_words_zh": "", "rules": [], "checks": []} | verdict


def dossier_page(registry: Registry, number: str, params: PromoteParams) -> bytes:
    """Return the dossier of a version, as its record names it.

    Raises:
        DataContractError: the record does not hold, names no dossier, or another one than the store gives back.
        TransientError: MLflow or its artifact store does not answer.
    """
    version = registry.version(number)
    signers = project_trust(registry.project).keys_for("release", params.environment)
    record, _ = read_record(read_proof(registry, version).record, signers)
    folder = registered(registry, version, DOSSIER.removeprefix("data/"))
    wanted = files_of(record).get(f"{DOSSIER.removeprefix('data/')}/{PAGE}")
    path = folder / PAGE
    if wanted is None or not path.is_file() or sha256_file(path) != wanted:
        raise DataContractError(f"version {number}: the dossier is not the one its record names",
                                f"tunegate verify {number}")  # fmt: skip
    return path.read_bytes()


def record_file(registry: Registry, number: str) -> bytes:
    """Return the signed record of a version, for `tunegate approve --record`.

    Raises:
        DataContractError: it has none.
    """
    record = read_proof(registry, registry.version(number)).record
    if record is None:
        raise DataContractError(f"version {number} has no release record", f"tunegate verify {number}")
    return json.dumps(record).encode() + b"\n"


def may_approve(trust: Trust, good: Sequence[Counted], requester: str) -> list[dict[str, Any]]:
    """Return the listed people whose approval would count now: name, roles."""
    done = {one.by for one in good}
    return [{"name": one.name, "roles": one.roles} for one in trust.people
            if one.name not in done and one.roles and not one.is_called(requester)]  # fmt: skip


def to_sign(number: str, params: PromoteParams, record: Any) -> dict[str, Any]:
    """Return what is signed, to the byte, and the commands that do it."""
    digest = document_sha256(record)
    document = {
        "by": "your name in infra/approvers.yaml", "environment": params.environment, "expires": "in 30 days",
        "lineage_id": record["predicate"]["lineage_id"], "reason": "your words", "record_sha256": digest,
        "role": "one of your roles", "schema": 1, "time": "now",
    }  # fmt: skip
    name, out = f"record-{number}.json", f"approval-{number}.json"
    common = ["--key", "~/.ssh/id_ed25519", "--reason", "TEXT"]
    return {
        "digest": digest,
        "document": canonical(document).decode(),
        "record_name": name,
        "out": out,
        "here": _command(number, *common, "--out", out),
        "elsewhere": _command(number, "--record", name, "--environment", params.environment, *common, "--out", out),
    }


def words_of(error: TunegateError) -> dict[str, str]:
    """Return an error as the page shows it."""
    return {"message": error.message, "hint": error.hint}


def _stopped(links: Iterable[Link]) -> Link | None:
    """Return why nobody can approve, None where somebody can."""
    return broken(link for link in links if link.name != "approvals")


def _command(number: str, *words: str) -> str:
    """Return a command line to copy; the home sign is the shell's to expand."""
    return " ".join(["tunegate", "approve", shlex.quote(number),
                     *(word if word.startswith("~/") else shlex.quote(word) for word in words)])  # fmt: skip
