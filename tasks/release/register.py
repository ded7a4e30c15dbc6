"""What a run made becomes a version: weights, reports and the evidence a promotion asks for, into the registry."""

import json
import logging
import subprocess
from pathlib import Path

from tasks.core import tracking
from tasks.core.digest import sha256_file, sha256_json
from tasks.core.files import read_json
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, HOPS, VALIDATION, report_of
from tasks.core.manifest import MANIFEST, read_manifest, verify_manifest
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.champion import record
from tasks.release.history import requester
from tasks.release.registry import PREFIX, Registry, Version

log = logging.getLogger(__name__)

MODEL_ARTIFACT = "model"
REPORTS = (GATE, DOSSIER, VALIDATION, *(report_of(hop) for hop in HOPS))


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
    comparison = record(registry, settings.gate, registry.version(str(made.version)))
    log.info("register: %s", comparison["words"])
    return registry.version(str(made.version))


def hop_metrics(project: Project) -> dict[str, dict[str, float]]:
    """Return the metrics of every hop, as the evaluations wrote them."""
    return {hop: read_json(project.root / report_of(hop) / "results.json")["metrics"] for hop in HOPS}


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
