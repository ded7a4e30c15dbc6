"""Signed documents as files: what the host reads of a version, and withdrawals that this machine has seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_json
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.proof.chain import Proof

RECORD, APPROVALS, WITHDRAWALS, CHAMPION = "record.dsse.json", "approvals.json", "withdrawals.json", "champion.json"


def write_proof(folder: Path, proof: Proof) -> None:
    """Write what was signed about a version into a folder."""
    write_signed(folder, proof)
    write_json(folder / RECORD, proof.record)


def read_proof_folder(folder: Path | None) -> Proof:
    """Return what was signed about a version; nothing where there is no such folder."""
    if folder is None or not (folder / RECORD).is_file():
        return Proof()
    return read_signed(folder, read_json(folder / RECORD))


def write_signed(folder: Path, proof: Proof) -> None:
    """Write what was signed beside the record."""
    write_json(folder / APPROVALS, list(proof.approvals))
    write_json(folder / WITHDRAWALS, list(proof.withdrawals))
    write_json(folder / CHAMPION, dict(proof.champion))


def read_signed(folder: Path, record: Any) -> Proof:
    """Return a record with what was signed beside it."""
    values = [read_json(folder / name) if (folder / name).is_file() else empty
              for name, empty in ((APPROVALS, []), (WITHDRAWALS, []), (CHAMPION, {}))]  # fmt: skip
    return Proof(record, *values)


def local_proof(project: Project, folder: Path | None) -> Proof:
    """Return what was signed about a version, with the withdrawals that this machine has seen."""
    proof = read_proof_folder(folder)
    return replace(proof, withdrawals=[*proof.withdrawals, *local_withdrawals(project)])


def keep_withdrawal(project: Project, envelope: Any) -> None:
    """Keep a withdrawal on this machine: who edits tags elsewhere cannot take it back here."""
    write_json(_withdrawals(project) / f"{sha256_json(envelope)[:32]}.json", envelope)


def local_withdrawals(project: Project) -> list[Any]:
    """Return the withdrawals that this machine has seen."""
    return [read_json(path) for path in sorted(_withdrawals(project).glob("*.json"))]


def _withdrawals(project: Project) -> Path:
    """Return where withdrawals are kept."""
    return project.state / "signing" / "withdrawals"
