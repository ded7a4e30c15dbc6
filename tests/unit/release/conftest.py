"""A project whose stages have run: small files in place of weights, a real MLflow store."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core import tracking
from tasks.core.errors import TransientError
from tasks.core.files import write_json
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, HOPS, VALIDATION, report_of
from tasks.core.manifest import write_manifest
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.engine.deployment import Deployment
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, Fingerprint
from tasks.proof.signers import FileSigner
from tasks.proof.trust import APPROVERS
from tasks.release.register import register
from tasks.release.registry import Registry
from tests.unit.proof.conftest import person, signer, write_approvers

ROOT = Path(__file__).parents[3]


def write_stage(root: Path, output: str, lineage_id: str, **files: object) -> None:
    folder = root / output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, value in files.items():
        if isinstance(value, str):
            (folder / f"{name}.html").write_text(value, encoding="utf-8")
        else:
            write_json(folder / f"{name}.json", value)
    write_manifest(folder, {"stage": output, "lineage_id": lineage_id, "parts": {"raw": {"data/raw": "0" * 64}}})


def _run_stages(project: Project, lineage_id: str, verdict: str = "PASS", demo: bool = True) -> None:
    """Write what the stages of one run leave behind."""
    root = project.root
    write_stage(root, ADAPTER, f"{lineage_id}-adapter", training={"steps": 1})
    write_stage(root, AWQ, lineage_id, config={"weights of": lineage_id})
    write_stage(root, GATE, lineage_id, verdict={"verdict": verdict, "demo": demo, "lineage_id": lineage_id})
    page = f"<!doctype html><meta charset=utf-8><title>发布档案 {lineage_id}</title>"
    write_stage(root, DOSSIER, lineage_id, card={"title": "核应急"}, index=page)
    write_stage(root, VALIDATION, lineage_id, validation={"rows": 600})
    for number, hop in enumerate(HOPS):
        metrics = {"domain_bits_per_byte": 2.0 - number / 10, "ceval_accuracy": 0.25}
        model = {"fingerprint": [[number, 1, 2]] * len(FINGERPRINT_PROMPTS)}
        write_stage(root, report_of(hop), lineage_id, results={"metrics": metrics, "model": model})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An MLflow database with its tables: making them takes longer than any test here."""
    project = Project(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.client(project)
    return project.state / "mlflow.db"


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store) -> Project:
    (tmp_path / ".tunegate").mkdir()
    shutil.copyfile(empty_store, tmp_path / ".tunegate" / "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TUNEGATE_USER", "王工")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    return Project(tmp_path)


@pytest.fixture
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture
def run_stages():
    return _run_stages


@pytest.fixture
def registry(project, settings, run_stages):
    """The registry with versions 1, 2 and 3."""
    for number in (1, 2, 3):
        run_stages(project, f"tg-{number}")
        register(project, settings)
    return Registry(project, settings.register_.model_name)


#: Who may approve in these tests -> the key; 王工 is the requester.
PEOPLE = {name: signer(number) for number, name in enumerate(("王工", "李审", "赵主任", "孙工", "周工"), start=11)}


def list_approvers(project: Project, people=PEOPLE, machines=()) -> None:
    """Write infra/approvers.yaml."""
    listed = [{"name": f"machine {number}", "uses": ["release", "host"], "keys": [key.public.line]}
              for number, key in enumerate(machines)]  # fmt: skip
    people = [person(name, key) for name, key in people.items()]
    write_approvers(project.root / APPROVERS, people, listed)


@pytest.fixture
def approvers(project) -> dict[str, FileSigner]:
    """The keys of the people who are listed."""
    list_approvers(project)
    return PEOPLE


@pytest.fixture
def with_promote():
    return _with_promote


def _with_promote(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"promote": settings.promote.model_copy(update=changes)})


#: What a quiet host says beside what it serves.
STATE = {"deploying": None, "wanted": None, "recovering": False, "given_up": {}, "previous": [],
         "rollout": None, "upstream": None}  # fmt: skip


@dataclass
class StandInHost:
    """Stands in for the serving host: remembers what was deployed; refuses what it is told to refuse."""

    live: dict[str, object] | None = None
    deployed: list[str] = field(default_factory=list)
    fails_on: set[str] = field(default_factory=set)
    held_to: list[Fingerprint] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    aborted: int = 0
    rollout: dict[str, object] | None = None

    def host_status(self, project):
        return self.live

    def ensure_host(self, project) -> bool:
        started = self.live is None
        if started:
            self.live = {
                "url": project.gateway_url,
                "slot": None,
                "version": None,
                "lineage_id": None,
                "healthy": False,
                **STATE,
            }
        return started

    def deploy(self, project, deployment, *, on_progress) -> None:
        version = deployment.version
        if version in self.fails_on:
            raise TransientError(f"version {version} did not answer the smoke test", "read the log")
        self.deployed.append(version)
        self.held_to.append(deployment.fingerprint)
        previous = [one.row() for one in self.deployments[::-1]]
        self.deployments.append(deployment)
        self.live = STATE | {"url": project.gateway_url, "slot": "blue", "version": version, "wanted": version,
                             "lineage_id": deployment.lineage_id, "healthy": True, "previous": previous}  # fmt: skip

    def rehearse(self, project, deployment, *, on_progress) -> float:
        if deployment.version in self.fails_on:
            raise TransientError(f"version {deployment.version} did not answer the smoke test", "read the log")
        return 1.5

    def abort_deployment(self, project) -> bool:
        self.aborted += 1
        return self.end_rollout(project, "abort", "its slot was asked for (rollback)")

    def begin_rollout(self, project, deployment, strategy, *, on_progress) -> None:
        if deployment.version in self.fails_on:
            raise TransientError(f"version {deployment.version} did not answer the smoke test", "read the log")
        counts = {"error": 1, "slow": 2, "refusal": 3, "unknown": 4}
        test = {"share": "error", "direction": "up", "abort_e": 1.5, "abort_at": 120.0, "pass_e": 21.0, "pass_at": 20.0}
        self.deployments.insert(0, deployment)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.rollout = self.live["rollout"] = {
            "id": "0", "version": deployment.version, "live": self.live["version"], "strategy": strategy,
            "by": deployment.by, "reason": deployment.reason, "started": now,
            "phase": "running", "why": "", "ended": None, "percent": 1.0, "step": 1, "steps": 3, "shadow": None,
            "arms": {"live": {"requests": 900} | counts, "candidate": {"requests": 300} | counts}, "tests": [test],
        }  # fmt: skip

    def ends(self, phase: str, why: str) -> None:
        """The rollout ends in the host, as its judge, a person or a crash has it."""
        tried = self.rollout | {"phase": phase, "why": why, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
        self.rollout, self.live["rollout"] = tried, None
        if phase == "promoted":
            self.live |= {"version": tried["version"], "wanted": tried["version"]}

    def end_rollout(self, project, end, why) -> bool:
        if not (self.live and self.live["rollout"]):
            return False
        self.ends("promoted" if end == "promote" else "aborted", why)
        return True

    def last_rollout(self, project):
        return self.rollout

    def recorded_version(self, project) -> str | None:
        return self.deployments[-1].version if self.deployments else None

    def stop_host(self, project) -> None:
        self.live = None


@pytest.fixture
def host(monkeypatch) -> StandInHost:
    host = StandInHost()
    for module in ("reconcile", "rollback", "status", "golive", "prune", "rollout", "canary"):
        monkeypatch.setattr(f"tasks.release.{module}.control", host)
    return host
