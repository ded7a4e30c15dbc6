"""A project with two signed versions, and what a forger reaches of it."""

import json
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core import tracking
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof.approval import make_approval
from tasks.proof.chain import Policy, broken
from tasks.proof.envelope import APPROVAL, content, sign
from tasks.proof.trust import APPROVERS, project_trust
from tasks.release.approvals import approve
from tasks.release.proofs import chain, read_proof, record_sha256
from tasks.release.register import register
from tasks.release.registry import Registry
from tests.unit.release.conftest import PEOPLE, ROOT, _run_stages, list_approvers

TWO = Policy("demo", 2)


@dataclass
class World:
    """A project with two signed versions, the first approved by two people; what a forger reaches of it."""

    project: Project
    settings: object
    registry: Registry

    def version(self, number: str = "1"):
        return self.registry.version(number)

    def root(self, number: str = "1") -> Path:
        run = self.registry.client.get_run(self.version(number).run_id)
        return tracking.download(run.info.artifact_uri, Path("/nowhere"))

    def tag(self, name: str, value: str, number: str = "1") -> None:
        self.registry.client.set_model_version_tag(self.registry.name, number, f"tunegate.{name}", value)

    def untag(self, name: str) -> None:
        self.registry.client.delete_model_version_tag(self.registry.name, "1", name)

    def record(self, number: str = "1") -> dict:
        return read_json(self.root(number) / "release/record.dsse.json")

    def approvals(self) -> dict[str, dict]:
        tags = self.version().tags
        return {name: json.loads(value) for name, value in tags.items() if name.startswith("tunegate.approval.")}

    def forge_record(self, envelope: dict) -> None:
        write_json(self.root() / "release/record.dsse.json", envelope)

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root() / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def only(self, **envelopes: dict) -> None:
        """Leave these approvals alone on the version, and one honest one."""
        (kept, _), *rest = self.approvals().items()
        for name, _ in rest:
            self.untag(name)
        for name, value in envelopes.items():
            self.tag(f"approval.{name}", json.dumps(value, ensure_ascii=False))
        assert kept

    def approval(self, key, *, by: dict | None = None, **changes: object) -> dict:
        """Return an approval as 赵主任 signs it, with changes that are signed by a key."""
        made = make_approval(
            PEOPLE["赵主任"], project_trust(self.project), record_sha256=self.digest(), lineage_id="tg-1",
            environment="demo", role="safety", reason="读过报告", lives=timedelta(days=1),
        )  # fmt: skip
        return sign(APPROVAL, content(made, APPROVAL) | changes, key)

    def digest(self, number: str = "1") -> str:
        return record_sha256(read_proof(self.registry, self.version(number)))

    def broken(self, policy: Policy = TWO):
        return broken(chain(self.registry, self.version(), policy, files=True, weights=True))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_RELEASE_KEY", "TUNEGATE_HOST_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("TUNEGATE_USER", "王工")
        project = Project(tmp_path_factory.mktemp("forged"))
        patch.setenv("TUNEGATE_ROOT", str(project.root))
        shutil.copyfile(ROOT / "params.yaml", project.root / "params.yaml")
        shutil.copytree(ROOT / "infra/environments", project.root / "infra/environments")
        settings = load_settings(project.root / "params.yaml")
        list_approvers(project)
        for number in ("1", "2"):
            _run_stages(project, f"tg-{number}")
            register(project, settings)
        world = World(project, settings, Registry(project, settings.register_.model_name))
        for name in ("李审", "孙工"):
            approve(world.registry, "1", settings.promote, PEOPLE[name], "读过报告")
        yield world


@pytest.fixture
def world(made):
    """The world; all of it is put back afterwards."""
    store, kept = made.project.state / "mlflow-artifacts", made.project.state / "kept-artifacts"
    lists, local = made.project.root / APPROVERS, made.project.state / "signing" / "withdrawals"
    shutil.copytree(store, kept)
    before, text = {number: dict(made.version(number).tags) for number in ("1", "2")}, lists.read_text()
    yield made
    shutil.rmtree(store)
    kept.replace(store)
    lists.write_text(text)
    shutil.rmtree(local, ignore_errors=True)
    for number, tags in before.items():
        now = made.version(number).tags
        for name in now.keys() - tags.keys():
            made.registry.client.delete_model_version_tag(made.registry.name, number, name)
        for name, value in tags.items() - now.items():
            made.registry.client.set_model_version_tag(made.registry.name, number, name, value)
