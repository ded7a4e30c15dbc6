"""What a slot is to serve: a version, its weights, and what its evidence says it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.errors import DataContractError
from tasks.core.manifest import MANIFEST, verify_manifest
from tasks.engine.abilities import PLAIN, Abilities
from tasks.engine.fingerprint import Fingerprint


@dataclass(frozen=True)
class Deployment:
    """A registered version and the folder of its weights; vLLM serves it under the lineage id.

    Args:
        fingerprint: what its evidence says it answers; None where it has no evidence to be held to.
        manifest_sha256: digest of the weights' manifest; None where the version names none.
        by, reason: who asked for it to be served, and why.
        abilities: what it can do beside plain text; decides the parsers it is started with.
        proof: folder with what was signed about it; the host starts nothing that has none.
    """

    version: str
    lineage_id: str
    model: Path
    fingerprint: Fingerprint | None = None
    manifest_sha256: str | None = None
    by: str = ""
    reason: str = ""
    abilities: Abilities = PLAIN
    proof: Path | None = None

    def serves_as(self, other: "Deployment | None") -> bool:
        """Tell whether a slot with the other serves this one as well, whoever asked and why."""
        return other is not None and self._what() == other._what()

    def verify(self) -> None:
        """Check every byte of the weights against the manifest that the version names.

        Raises:
            DataContractError: they are gone, or are not the ones that were evaluated.
        """
        if self.manifest_sha256 is None:
            return
        verify_manifest(self.model)
        if sha256_file(self.model / MANIFEST) != self.manifest_sha256:
            raise DataContractError(
                f"version {self.version}: the model in {self.model} is not the one that was evaluated",
                "restore it from a backup, or serve another version: tunegate rollback",
            )

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"version": self.version, "lineage_id": self.lineage_id, "model": str(self.model),
                "fingerprint": self.fingerprint.row() if self.fingerprint else None,
                "manifest_sha256": self.manifest_sha256, "by": self.by, "reason": self.reason,
                "abilities": self.abilities.row(), "proof": str(self.proof) if self.proof else None}  # fmt: skip

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Deployment":
        """Return the deployment in a JSON value.

        Raises:
            DataContractError: its fingerprint could not be compared with anything.
        """
        kept = row.get("fingerprint")
        fingerprint = Fingerprint.of_row(kept) if kept else None
        return cls(row["version"], row["lineage_id"], Path(row["model"]), fingerprint, row.get("manifest_sha256"),
                   row.get("by", ""), row.get("reason", ""), Abilities.of_row(row.get("abilities")),
                   Path(row["proof"]) if row.get("proof") else None)  # fmt: skip

    def _what(self) -> tuple[Any, ...]:
        """Return what decides the answers."""
        return self.version, self.lineage_id, self.model, self.fingerprint, self.manifest_sha256, self.abilities
