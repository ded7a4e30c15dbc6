"""Versions in the MLflow registry: what the pipeline made, with the evidence a promotion asks for."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core import tracking
from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.manifest import MANIFEST, verify_manifest
from tasks.core.project import Project
from tasks.proof.approval import approval_document
from tasks.release import version_files

PREFIX = "tunegate."
CHAMPION = "champion"
#: Where a version's weights stand among its files, and what brings its checkout back.
MODEL, CHECKOUT = "model", "checkout"
APPROVAL, WITHDRAWAL = f"{PREFIX}approval.", f"{PREFIX}withdrawal."


@dataclass(frozen=True)
class Version:
    """One registered version, as the rest of the release room sees it."""

    number: str
    tags: dict[str, str]
    source: str
    run_id: str | None

    @property
    def lineage_id(self) -> str:
        """The id of what this version was made from; empty for a version Tunegate did not register."""
        return self.tags.get(f"{PREFIX}lineage_id", "")

    @property
    def verdict(self) -> str:
        """PASS, FAIL or INCONCLUSIVE; `none` for a version Tunegate did not register."""
        return self.tags.get(f"{PREFIX}verdict", "none")

    @property
    def demo(self) -> bool:
        """Whether the verdict was made with stand-ins and may not carry a production deployment."""
        return self.tags.get(f"{PREFIX}demo") != "false"

    @property
    def metrics(self) -> dict[str, float]:
        """`hop.metric` -> value, as it was registered."""
        start = f"{PREFIX}metric."
        return {name.removeprefix(start): float(value) for name, value in self.tags.items() if name.startswith(start)}

    @property
    def approvals(self) -> list[dict[str, str]]:
        """What approvals say, in order: by, role, reason, time, ...; which of them count is `proofs.chain`'s to say."""
        said = []
        for envelope in self.envelopes(APPROVAL):
            try:
                said.append({name: str(value) for name, value in approval_document(envelope).items()})
            except DataContractError:
                continue
        return sorted(said, key=lambda item: item.get("time", ""))

    def envelopes(self, prefix: str) -> list[Any]:
        """Return the signed documents of a kind. Each has a tag of its own, so that two at once are both kept."""
        found = []
        for name, value in sorted(self.tags.items()):
            if name.startswith(prefix):
                with suppress(ValueError):
                    found.append(json.loads(value))
        return found

    @property
    def contents_sha256(self) -> str | None:
        """Digest of the list of its files; None for a version of an older release."""
        return self.tags.get(version_files.CONTENTS_SHA256)

    @property
    def pruned(self) -> str | None:
        """When its weights were deleted, or None."""
        return self.tags.get(f"{PREFIX}pruned")


class Registry:
    """The registered model of one project.

    Args:
        project: where the MLflow store is.
        model_name: name of the registered model.
    """

    def __init__(self, project: Project, model_name: str) -> None:
        self.project, self.name = project, model_name
        self.client = tracking.client(project)

    def champion(self) -> Version | None:
        """Return the version the alias `champion` points to: the desired state of serving."""
        return _version(tracking.find_alias(self.client, self.name, CHAMPION))

    def version(self, number: str) -> Version:
        """Return one version.

        Raises:
            ConfigError: there is no such version.
        """
        found = _version(tracking.find_version(self.client, self.name, number))
        if found is None:
            numbers = ", ".join(version.number for version in self.versions()) or "none"
            raise ConfigError(f"{self.name} has no version {number} (there are: {numbers})", "tunegate status")
        return found

    @tracking.answering()
    def versions(self) -> list[Version]:
        """Return all versions, oldest first."""
        found = [_version(item) for item in self.client.search_model_versions(f"name = '{self.name}'")]
        return sorted((item for item in found if item), key=lambda item: int(item.number))

    def by_lineage(self, lineage_id: str) -> Version | None:
        """Return the newest version with this lineage id, or None."""
        return next((item for item in reversed(self.versions()) if item.lineage_id == lineage_id), None)

    def by_evidence(self, digest: str) -> Version | None:
        """Return the version with this evidence, or None."""
        return next((item for item in self.versions() if item.tags.get(version_files.EVIDENCE) == digest), None)

    @tracking.answering()
    def tag(self, version: str, name: str, value: str) -> None:
        """Set one of our tags on a version."""
        self.client.set_model_version_tag(self.name, version, f"{PREFIX}{name}", value)

    @tracking.answering()
    def untag(self, version: Version, name: str) -> None:
        """Remove one of our tags from a version, if it has it."""
        if f"{PREFIX}{name}" in version.tags:
            self.client.delete_model_version_tag(self.name, version.number, f"{PREFIX}{name}")

    @tracking.answering()
    def set_champion(self, version: str | None) -> None:
        """Point the alias `champion` at a version; None removes it."""
        if version is None:
            self.client.delete_registered_model_alias(self.name, CHAMPION)
        else:
            self.client.set_registered_model_alias(self.name, CHAMPION, version)

    def weights(self, version: Version) -> Path:
        """Return a local folder with a version's model, checked against the digests on the version.

        Raises:
            ConfigError: its weights were deleted to free disk.
            DataContractError: the bytes are not the ones that were evaluated.
            TransientError: the artifact store does not answer.
        """
        if version.pruned:
            raise ConfigError(f"the weights of version {version.number} were deleted on {version.pruned}",
                              f"tunegate lineage {version.number} --restore DIR makes them again")  # fmt: skip
        folder = self.files(version, MODEL, self.project.state / "serving" / "models" / version.number)
        if not version.contents_sha256:
            # Else every byte was compared a moment ago, the manifest's too.
            verify_manifest(folder)
        if sha256_file(folder / MANIFEST) != version.tags.get(f"{PREFIX}awq_manifest_sha256"):
            raise DataContractError(
                f"version {version.number}: the model in {folder} is not the one that was evaluated",
                version_files.NOT_AS_REGISTERED,
            )
        return folder

    def files(self, version: Version, path: str, folder: Path) -> Path:
        """Return a file or folder of a version as it was registered.

        Args:
            version: whose.
            path: `model`, or below the run's artifacts: `reports/gate`.
            folder: where the copy from a remote store goes.

        Raises:
            DataContractError: the version was not registered by Tunegate, or its files are not as they were.
            TransientError: the artifact store does not answer.
        """
        if version.run_id is None:
            raise DataContractError(f"version {version.number} has no run: there is no evidence", "tunegate run")
        with tracking.answering():
            root = self.client.get_run(version.run_id).info.artifact_uri
        if version.contents_sha256:
            return version_files.read(root, path, folder, version.contents_sha256, f"version {version.number}")
        return tracking.download(version.source if path == MODEL else f"{root}/{path}", folder)


def _version(item: Any | None) -> Version | None:
    """Return MLflow's version as ours."""
    if item is None:
        return None
    return Version(str(item.version), dict(item.tags), item.source or "", item.run_id)
