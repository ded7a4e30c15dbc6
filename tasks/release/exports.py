"""The weights behind a registered version, for an export: only what the version's own record leads to."""

from pathlib import Path

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.layout import AWQ, MERGED
from tasks.core.manifest import MANIFEST, read_manifest
from tasks.core.project import Project
from tasks.export.source import Source, finished
from tasks.release.registry import Registry

#: Hops whose weights are one model.
HOPS = ("merged", "awq")


def source_of_run(project: Project, hop: str) -> Source:
    """Return the weights of the finished run in this checkout.

    Raises:
        DataContractError: they are absent, incomplete or changed.
    """
    return finished(project.root / (MERGED if hop == "merged" else AWQ), hop)


def source_of_version(project: Project, registry: Registry, number: str, hop: str) -> Source:
    """Return the weights of a registered version.

    A version keeps its 4-bit weights and what they were made from, by digest; the merged weights are those of this
    checkout, where they are the same.

    Raises:
        ConfigError: there is no such version, or its weights were deleted.
        DataContractError: the weights here are not what the version was made from.
    """
    version = registry.version(number)
    folder = registry.weights(version)
    if hop == "awq":
        return finished(folder, hop, number, version.lineage_id)
    wanted = read_manifest(folder)["inputs"]["merged"]["manifest_sha256"]
    merged = project.root / MERGED
    if not (merged / MANIFEST).is_file() or sha256_file(merged / MANIFEST) != wanted:
        raise DataContractError(
            f"{MERGED} is not what version {number} was made from: {_said(merged)}",
            f"tunegate lineage {number} --restore DIR, make it there (tunegate run), and export there",
        )
    return finished(merged, hop, number, version.lineage_id)


def require_hop(hop: str, what: str) -> None:
    """Refuse a hop that cannot be exported so.

    Raises:
        ConfigError: 4-bit weights as GGUF: they would be rounded twice.
    """
    if hop == "awq" and what != "safetensors":
        raise ConfigError(f"{what} is written from merged weights: 4-bit ones would be rounded twice", "--hop merged")


def _said(folder: Path) -> str:
    """Return what lies in a folder, in words."""
    if not (folder / MANIFEST).is_file():
        return "it is absent or incomplete"
    return f"it is {read_manifest(folder).get('lineage_id', 'of another make')}"
