"""What a run made becomes a version: weights, reports and the evidence a promotion asks for, into the registry.

Steps, each of which a retry finds done or does again: the version's own run is stored and read back; what it was made
from is kept from `dvc gc`; the version is made in one request with all its tags; it is compared with the champion. A
kill between any two leaves a run without a version, never a version without its files.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core import tracking
from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import TransientError
from tasks.core.exclusive import exclusively
from tasks.core.files import read_json
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, HOPS, MERGED, VALIDATION, report_of
from tasks.core.manifest import MANIFEST, read_manifest, verify_manifest
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.core.training_record import deliver_waiting
from tasks.proof.envelope import IN_TOTO, content, document_sha256
from tasks.proof.record import FOLDER, RECORD, SCHEMA
from tasks.release import version_files
from tasks.release.champion import TAG, record
from tasks.release.checkout import commit_words, write_checkout
from tasks.release.description import description
from tasks.release.history import requester
from tasks.release.kept import keep
from tasks.release.proofs import RECORD_TAG, read_record_envelope, require_whole
from tasks.release.records import digests_of, prepare_record_files, write_record
from tasks.release.registry import CHECKOUT, MODEL, PREFIX, Registry, Version

log = logging.getLogger(__name__)

REPORTS = (GATE, DOSSIER, VALIDATION, *(report_of(hop) for hop in HOPS))
#: MLflow's own tag: the user interface shows the run below the one that trained.
PARENT = "mlflow.parentRunId"
COMMIT = f"{PREFIX}git_commit"
LOCK_WAIT_S = 600.0


@dataclass(frozen=True)
class Evidence:
    """What identifies a version: the manifests of the quantized model and of every report about it.

    Args:
        manifests: output -> SHA-256 of its manifest, which has the digest of every file.
    """

    manifests: dict[str, str]

    @property
    def digest(self) -> str:
        """One digest over all of them: another rule, candidate or answer makes another version.

        With the form of the record: a version of an older release, which has none, is registered anew.
        """
        return sha256_json({**self.manifests, "release record": str(SCHEMA)})


@tracking.answering()
def register(project: Project, settings: Settings) -> Version:
    """Register the quantized model with its evidence; the same evidence is registered once.

    A model whose verdict is not PASS is registered too: its evidence is kept, and promotion refuses it.

    Raises:
        DataContractError: an output differs from its manifest, or the store gives back other bytes than it was given.
        TransientError: MLflow or its artifact store does not answer, or another register is at work.
    """
    with exclusively_registering(project):
        registry = Registry(project, settings.register_.model_name)
        evidence = _evidence(project)
        version = registry.by_evidence(evidence.digest)
        if version is None:
            version = _made(project, registry, evidence)
        elif TAG in version.tags:
            log.info("register: version %s holds this evidence already", version.number)
            return version
        require_whole(registry, version)
        log.info("register: %s", record(registry, settings.gate, version)["words"])
        return registry.version(version.number)


def hop_metrics(project: Project) -> dict[str, dict[str, float]]:
    """Return the metrics of every hop, as the evaluations wrote them."""
    return {hop: read_json(project.root / report_of(hop) / "results.json")["metrics"] for hop in HOPS}


@contextmanager
def exclusively_registering(project: Project) -> Iterator[None]:
    """Let one process of this machine register at a time."""
    busy = ("another register is at work", "wait for it, then run the same command again")
    with exclusively(project.state / "register.lock", wait_s=LOCK_WAIT_S, busy=busy):
        yield


def _evidence(project: Project) -> Evidence:
    """Return the evidence of the run in this checkout, after checking every file of it."""
    for path in (AWQ, *REPORTS):
        verify_manifest(project.root / path)
    return Evidence({path: sha256_file(project.root / path / MANIFEST) for path in (AWQ, *REPORTS)})


def _made(project: Project, registry: Registry, evidence: Evidence) -> Version:
    """Store the files of a new version, and make it."""
    run = _stored(project, registry, evidence)
    # Base and adapter give the merged weights back: they are never cached.
    if missing := [path for path in keep(project, project.root / "dvc.lock") if path != MERGED]:
        log.warning("register: not in the DVC cache, so that this version cannot bring it back: %s", ", ".join(missing))
    tracking.create_registered_model(registry.client, registry.name)
    made = registry.client.create_model_version(
        registry.name,
        source=f"{run.info.artifact_uri}/{MODEL}",
        run_id=run.info.run_id,
        tags=_tags(project, evidence, run),
        description=description(read_json(project.root / GATE / "verdict.json"), hop_metrics(project), run),
    )
    version = registry.version(str(made.version))
    log.info("register: %s version %s, verdict %s", registry.name, version.number, version.verdict)
    return version


def _stored(project: Project, registry: Registry, evidence: Evidence) -> Any:
    """Return the run that holds the files of this evidence, and nothing else."""
    trained = _training_run(project, registry)
    with TemporaryDirectory() as folder, TemporaryDirectory() as beside:
        facts = write_checkout(project.root, Path(folder))
        sources = {MODEL: project.root / AWQ, CHECKOUT: Path(folder)}
        sources |= {path.removeprefix("data/"): project.root / path for path in REPORTS}
        digests = _signed(project, registry.name, evidence, sources, Path(beside), facts)
        tags = {COMMIT: commit_words(facts)} | ({PARENT: trained} if trained else {})
        run = version_files.store(project, registry.client, evidence.digest, sources, tags, digests)
    for hop, metrics in hop_metrics(project).items():
        for name, value in metrics.items():
            registry.client.log_metric(run.info.run_id, f"{hop}.{name}", value)
    return run


def _signed(
    project: Project, model: str, evidence: Evidence, sources: dict[str, Path], folder: Path, facts: dict[str, Any]
) -> dict[str, str]:
    """Sign the record of a version over all of its files, add it to them, and return their digests."""
    prepare_record_files(project, model, folder)
    sources[FOLDER] = folder
    digests = digests_of(sources)
    write_record(project, model, evidence.digest, folder, digests, by=requester(), code=facts)
    return digests | {RECORD: sha256_file(folder / Path(RECORD).name)}


def _training_run(project: Project, registry: Registry) -> str | None:
    """Return the MLflow run that trained the adapter; None where DVC restored the training from elsewhere.

    Raises:
        TransientError: what the training logged waits for an MLflow that takes it.
    """
    lineage_id = read_manifest(project.root / ADAPTER)["lineage_id"]
    if (why := deliver_waiting(project).get(lineage_id)) is not None:
        raise TransientError(f"MLflow has not all of what training {lineage_id} logged: {why}",
                             "mend that, then run the same command again: the rest is sent first")  # fmt: skip
    tags = {tracking.STAGE_TAG: "train", tracking.LINEAGE_TAG: lineage_id}
    run = tracking.find_run(project, registry.client, tags)
    if run is None:
        log.warning("register: MLflow has no run of training %s (made elsewhere?); the version names none", lineage_id)
        return None
    return str(run.info.run_id)


def _tags(project: Project, evidence: Evidence, run: Any) -> dict[str, str]:
    """Return the tags of the version to be registered, from the files the stages wrote."""
    manifest = read_manifest(project.root / AWQ)
    verdict = read_json(project.root / GATE / "verdict.json")
    tags = {
        "lineage_id": manifest["lineage_id"],
        "verdict": verdict["verdict"],
        "demo": json.dumps(verdict["demo"]),
        "awq_manifest_sha256": evidence.manifests[AWQ],
        "parts": json.dumps(manifest["parts"], sort_keys=True),
        "git_commit": run.data.tags[COMMIT],
        "training_run_id": run.data.tags.get(PARENT, ""),
    }
    for hop, metrics in hop_metrics(project).items():
        tags |= {f"metric.{hop}.{name}": f"{value:.6f}" for name, value in metrics.items()}
    stored = {name: run.data.tags[name] for name in (version_files.EVIDENCE, version_files.CONTENTS_SHA256)}
    record = content(read_record_envelope(project, run), IN_TOTO)
    mirrored = {RECORD_TAG: document_sha256(record), f"{PREFIX}requested_by": record["predicate"]["requested_by"]}
    return stored | {f"{PREFIX}{name}": value for name, value in tags.items()} | mirrored
