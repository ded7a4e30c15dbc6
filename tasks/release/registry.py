"""Versions in the MLflow registry: what the pipeline made, with the evidence a promotion asks for."""

import getpass
import json
import logging
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core import tracking
from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.manifest import MANIFEST, read_manifest, verify_manifest
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.core.stage import ADAPTER, AWQ, DOSSIER, GATE, HOPS, VALIDATION, report_of

log = logging.getLogger(__name__)

PREFIX = "tunegate."
CHAMPION = "champion"
MODEL_ARTIFACT = "model"
REPORTS = (GATE, DOSSIER, VALIDATION, *(report_of(hop) for hop in HOPS))


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
    def approvals(self) -> list[dict[str, str]]:
        """Approvals in order: by, reason, time."""
        found: list[dict[str, str]] = json.loads(self.tags.get(f"{PREFIX}approvals", "[]"))
        return found


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

    def versions(self) -> list[Version]:
        """Return all versions, oldest first."""
        found = [_version(item) for item in self.client.search_model_versions(f"name = '{self.name}'")]
        return sorted((item for item in found if item), key=lambda item: int(item.number))

    def by_lineage(self, lineage_id: str) -> Version | None:
        """Return the newest version with this lineage id, or None."""
        return next((item for item in reversed(self.versions()) if item.lineage_id == lineage_id), None)

    def tag(self, version: str, name: str, value: str) -> None:
        """Set one of our tags on a version."""
        self.client.set_model_version_tag(self.name, version, f"{PREFIX}{name}", value)

    def untag(self, version: Version, name: str) -> None:
        """Remove one of our tags from a version, if it has it."""
        if f"{PREFIX}{name}" in version.tags:
            self.client.delete_model_version_tag(self.name, version.number, f"{PREFIX}{name}")

    def set_champion(self, version: str | None) -> None:
        """Point the alias `champion` at a version; None removes it."""
        if version is None:
            self.client.delete_registered_model_alias(self.name, CHAMPION)
        else:
            self.client.set_registered_model_alias(self.name, CHAMPION, version)

    def weights(self, version: Version) -> Path:
        """Return a local folder with a version's model, checked against its manifest and its tags.

        Raises:
            DataContractError: the bytes are not the ones that were evaluated.
            TransientError: the artifact store does not answer.
        """
        folder = tracking.download(version.source, self.project.state / "serving" / "models" / version.number)
        verify_manifest(folder)
        if sha256_file(folder / MANIFEST) != version.tags.get(f"{PREFIX}awq_manifest_sha256"):
            raise DataContractError(
                f"version {version.number}: the model in {folder} is not the one that was evaluated", "tunegate run"
            )
        return folder


def register(project: Project, settings: Settings) -> Version:
    """Register the quantized model with its evidence; the same evidence is registered once.

    A model whose verdict is not PASS is registered too: its evidence is kept, and promotion refuses it.
    """
    registry = Registry(project, settings.register_.model_name)
    tags = _tags(project)
    if tracking.find_registered_model(registry.client, registry.name) is None:
        registry.client.create_registered_model(registry.name)
    for known in registry.versions():
        if known.tags.get(f"{PREFIX}evidence") == tags[f"{PREFIX}evidence"]:
            log.info("register: version %s holds this evidence already", known.number)
            return known
    run_id = _record_run(project, registry, tags)
    source = f"{registry.client.get_run(run_id).info.artifact_uri}/{MODEL_ARTIFACT}"
    made = registry.client.create_model_version(registry.name, source=source, run_id=run_id, tags=tags)
    log.info("register: %s version %s, verdict %s", registry.name, made.version, tags[f"{PREFIX}verdict"])
    # Imported here: the comparison reads versions through this module.
    from tasks.release.champion import record

    comparison = record(registry, settings.gate, registry.version(str(made.version)))
    log.info("register: %s", comparison["words"])
    return registry.version(str(made.version))


def hop_metrics(project: Project) -> dict[str, dict[str, float]]:
    """Return the metrics of every hop, as the evaluations wrote them."""
    return {hop: read_json(project.root / report_of(hop) / "results.json")["metrics"] for hop in HOPS}


def requester() -> str:
    """Return who asks: $TUNEGATE_USER (set by CI and schedulers), or the login name."""
    return os.environ.get("TUNEGATE_USER") or getpass.getuser()


def _version(item: Any | None) -> Version | None:
    """Return MLflow's version as ours."""
    if item is None:
        return None
    return Version(str(item.version), dict(item.tags), item.source or "", item.run_id)


def _tags(project: Project) -> dict[str, str]:
    """Return the tags of the version to be registered, from the files the stages wrote."""
    manifest = verify_manifest(project.root / AWQ)
    verdict = read_json(project.root / GATE / "verdict.json")
    reports = {path: sha256_file(project.root / path / MANIFEST) for path in (AWQ, *REPORTS)}
    tags = {
        "lineage_id": manifest["lineage_id"],
        "verdict": verdict["verdict"],
        "demo": json.dumps(verdict["demo"]),
        "evidence": sha256_json(reports),
        "awq_manifest_sha256": reports[AWQ],
        "parts": json.dumps(manifest["parts"], sort_keys=True),
        "git_commit": _git_commit(project.root),
        "requested_by": requester(),
        "approvals": "[]",
    }
    for hop, metrics in hop_metrics(project).items():
        tags |= {f"metric.{hop}.{name}": f"{value:.6f}" for name, value in metrics.items()}
    return {f"{PREFIX}{name}": value for name, value in tags.items()}


def _record_run(project: Project, registry: Registry, tags: dict[str, str]) -> str:
    """Complete the training run (or make one where DVC restored the training) with metrics and artifacts."""
    client = registry.client
    adapter = read_manifest(project.root / ADAPTER)
    trained = {f"{PREFIX}stage": "train", f"{PREFIX}lineage_id": adapter["lineage_id"]}
    known = tracking.find_run(project, client, trained)
    run_id = (
        known.info.run_id
        if known
        else client.create_run(tracking.experiment_id(client, project), tags=trained).info.run_id
    )
    client.set_tag(run_id, f"{PREFIX}model_lineage_id", tags[f"{PREFIX}lineage_id"])
    for hop, metrics in hop_metrics(project).items():
        for name, value in metrics.items():
            client.log_metric(run_id, f"{hop}.{name}", value)
    client.log_artifacts(run_id, str(project.root / AWQ), MODEL_ARTIFACT)
    for path in REPORTS:
        client.log_artifacts(run_id, str(project.root / path), path.removeprefix("data/"))
    client.log_artifact(run_id, str(project.root / "params.yaml"))
    client.set_terminated(run_id)
    return str(run_id)


def _git_commit(root: Path) -> str:
    """Return the commit of the checkout, marked when the tree differs from it."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = ask("rev-parse", "HEAD") or "not a git checkout"
    return f"{commit}-dirty" if ask("status", "--porcelain", "--untracked-files=no") else commit
