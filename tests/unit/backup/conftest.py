"""A project with versions, a history, an audit log, keys and a journal."""

import shutil
from pathlib import Path

import pytest

from tasks.backup.artifacts import artifact_uri, relocate
from tasks.backup.databases import Database
from tasks.core.files import write_json
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof.signers import machine_signer
from tasks.release.history import append_event, carry_seen, place_of
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.serving.audit.chain import Link
from tasks.serving.audit.head import note_seen, write_head
from tasks.serving.audit.record import chained
from tasks.serving.audit.secret import audit_secret
from tasks.serving.paths import audit_folder, audit_seen
from tests.unit.release.conftest import ROOT, _run_stages, empty_store, settings

__all__ = ["empty_store", "settings"]

DAY = "2026-11-30.jsonl"


def clone(folder: Path) -> Project:
    """Return a fresh clone: what git has, and no local state."""
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    return Project(folder)


def write_audit_log(project: Project, records: int = 3) -> None:
    """Write what a host has written: a chained log, its signed head, and what was seen of it."""
    folder, link, lines = audit_folder(project), Link(), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(records):
        line, link = chained({"kind": "request", "request_id": f"r{number}", "prompt": "碘片何时服用？"}, link)
        lines.append(line)
    (folder / DAY).write_text("".join(lines), encoding="utf-8")
    write_head(folder, link, machine_signer(project, "host"))
    note_seen(audit_seen(project), link)
    audit_secret(project)


@pytest.fixture(scope="session")
def original(tmp_path_factory, empty_store) -> Project:
    """A project that was in use: three versions, two changes of champion, a log, keys, a journal."""
    project = clone(tmp_path_factory.mktemp("lived") / "project")
    project.state.mkdir()
    shutil.copyfile(empty_store, project.state / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        _alone(patch)
        _live(project)
    return project


@pytest.fixture
def lived(original, settings, tmp_path, monkeypatch) -> Project:
    """The same, to do with as a test likes."""
    _alone(monkeypatch)
    project, model = Project(tmp_path / "project"), settings.register_.model_name
    shutil.copytree(original.root, project.root)
    relocate(Database("mlflow", project.mlflow_uri), artifact_uri(original), artifact_uri(project))
    carry_seen(project, place_of(original.mlflow_uri, model), place_of(project.mlflow_uri, model))
    return project


@pytest.fixture
def registry(lived, settings) -> Registry:
    return Registry(lived, settings.register_.model_name)


def _alone(patch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own."""
    for name in ("TUNEGATE_RELEASE_KEY", "TUNEGATE_HOST_KEY", "PREFECT_API_URL", "PREFECT_HOME", "TUNEGATE_KEYS_FILE",
                 "PREFECT_API_DATABASE_CONNECTION_URL", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI"):  # fmt: skip
        patch.delenv(name, raising=False)
    patch.setenv("TUNEGATE_USER", "王工")


def _live(project: Project) -> None:
    """Register, promote, answer."""
    settings = load_settings(ROOT / "params.yaml")
    for number in (1, 2, 3):
        _run_stages(project, f"tg-{number}")
        register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    for number in ("1", "2"):
        append_event(registry, "promote", number, "王工", "首次上线", lineage_id=f"tg-{number}")
    registry.set_champion("2")
    registry.tag("2", "note", "核应急 “上线” \\ 一行\n\\.\n\t末行")
    registry.client.log_metric(registry.version("2").run_id, "loss", float("nan"))
    write_audit_log(project)
    write_json(project.state / "keys.json", {"keys": [{"name": "desk", "sha256": "0" * 64}]})
    write_json(project.state / "serving" / "budgets.json", {"desk": {"tokens": 12}})
    (project.state / "serving" / "models").mkdir()
    (project.state / "serving" / "models" / "weights.safetensors").write_bytes(b"made again")
