"""One id: what a result was made from, as digests, and the hash over them."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.core.digest import file_digests, sha256_json, sha256_tree
from tasks.core.errors import DataContractError
from tasks.core.layout import NOT_TRAINED_ON, RAW
from tasks.core.settings import Settings
from tasks.stages.table import Stage

LINEAGE_CHARACTERS = 16


@dataclass
class Parts:
    """What a result was made from: digests by kind (`raw`, `params`, `base_model`, `code`) and name."""

    digests: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, digest: str, where: str) -> None:
        """Add one digest.

        Raises:
            DataContractError: another input was made from something else under the same name; results of two
                different runs must not be mixed.
        """
        known = self.digests.setdefault(kind, {}).setdefault(name, digest)
        if known != digest:
            raise DataContractError(
                f"{where} was made from another {kind} ({name}) than the rest of its inputs",
                "tunegate run",
            )

    def add_all(self, parts: dict[str, dict[str, str]], where: str) -> None:
        """Add the parts recorded in an upstream manifest."""
        for kind, digests in parts.items():
            for name, digest in digests.items():
                self.add(kind, name, digest, where)

    @property
    def lineage_id(self) -> str:
        """Short hash over all parts: the name of this result in every plane."""
        return f"tg-{sha256_json(self.digests)[:LINEAGE_CHARACTERS]}"


def parts_of(
    stage: Stage, root: Path, settings: Settings, manifests: dict[str, dict[str, Any]], base_digest: str | None
) -> Parts:
    """Return what the output of `stage` is made from, inputs included.

    Args:
        manifests: manifest of every input that has one, by input name.
        base_digest: digest of the base model where the stage reads it.
    """
    parts = Parts()
    for name, manifest in manifests.items():
        parts.add_all(manifest["parts"], stage.inputs[name])
    if RAW in stage.inputs.values():
        parts.add("raw", RAW, _raw_digest(root), RAW)
    for section in stage.param_sections:
        parts.add("params", section, sha256_json(_plain(settings.section(section))), "params.yaml")
    if base_digest:
        parts.add("base_model", settings.base_model.id, base_digest, "the base model")
    for path in stage.code:
        parts.add("code", path, sha256_tree(root / path), path)
    return parts


def _raw_digest(root: Path) -> str:
    """Return the digest of the raw data that models are made from and judged by: `sha256_tree` of it as it was before
    there were documents to answer from.
    """
    found = file_digests(root / RAW)
    apart = tuple(f"{PurePosixPath(path).relative_to(RAW)}/" for path in NOT_TRAINED_ON)
    return sha256_json({name: digest for name, digest in found.items() if not name.startswith(apart)})


def _plain(value: Any) -> Any:
    """Return a section, a list of them, or a single value as JSON values."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value
