"""What is exported: a folder of weights that a stage finished, every byte as its manifest says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.manifest import MANIFEST, verify_manifest
from tasks.models.safety import require_safe


@dataclass(frozen=True)
class Source:
    """A hop's weights and where they come from.

    Args:
        folder: of the hop.
        hop: merged or awq.
        lineage_id: of that hop: what it was made from.
        manifest_sha256: digest of its manifest, which has the digest of every file.
        version: the registered version it belongs to; None for a run that is not registered.
        version_lineage_id: that version's, under which a gateway looks for it.
    """

    folder: Path
    hop: str
    lineage_id: str
    manifest_sha256: str
    version: str | None = None
    version_lineage_id: str | None = None

    def row(self) -> dict[str, Any]:
        """Return what the export's manifest says of it: no path of this machine."""
        return {"hop": self.hop, "lineage_id": self.lineage_id, "manifest_sha256": self.manifest_sha256,
                "version": self.version, "version_lineage_id": self.version_lineage_id}  # fmt: skip


def finished(folder: Path, hop: str, version: str | None = None, version_lineage_id: str | None = None) -> Source:
    """Return a finished hop as a source.

    Raises:
        DataContractError: it is absent, incomplete, changed since it was written, or could execute something.
    """
    manifest = verify_manifest(folder)
    require_safe(folder)
    return Source(
        folder, hop, manifest["lineage_id"], sha256_file(folder / MANIFEST), version, version_lineage_id
    )  # fmt: skip
