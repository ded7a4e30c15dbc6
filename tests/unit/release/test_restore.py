"""A version brought back with real git and real DVC, after the workspace went on and `dvc gc` had its way."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.layout import ADAPTER, AWQ, PREPARED, RAW
from tasks.core.manifest import MANIFEST, write_manifest
from tasks.release.kept import dvc, kept_folder
from tasks.release.prune import prune
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.release.restore import restore, restored_words
from tests.unit.release.conftest import write_stage

OUTPUTS = (PREPARED, ADAPTER, AWQ)


def run(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def registry(project, settings):
    return Registry(project, settings.register_.model_name)


@pytest.fixture
def checkout(project, run_stages, monkeypatch):
    """A clone whose stages DVC knows; gives a function that makes, commits and records one more run."""
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "DVC_NO_ANALYTICS": "1", "GIT_AUTHOR_NAME": "t",
                        "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t",
                        "GIT_COMMITTER_EMAIL": "t@example.org"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    root = project.root
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    (root / ".gitignore").write_text(".tunegate/\n/data/prepared\n/data/models\n/data/reports\n", "utf-8")
    (root / RAW).mkdir(parents=True)
    stages = {f"s{place}": {"cmd": "true", "outs": [path]} for place, path in enumerate(OUTPUTS)}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), "utf-8")
    assert dvc(root, "init", "--quiet").returncode == 0

    def make(number: int) -> str:
        (root / RAW / "行.jsonl").write_text(
            json.dumps({"instruction": f"第 {number} 版"}, ensure_ascii=False), "utf-8"
        )
        run_stages(project, f"tg-{number}")
        write_stage(root, PREPARED, f"tg-{number}-prepared", rows={"第": number})
        weights = root / AWQ / "weights.json"
        weights.write_text(json.dumps([number] * 2000), "utf-8")
        inputs = {"prepared": {"path": PREPARED, "manifest_sha256": sha256_file(root / PREPARED / MANIFEST)}}
        (root / AWQ / MANIFEST).unlink()
        write_manifest(root / AWQ, {"stage": "quantize", "lineage_id": f"tg-{number}", "parts": {}, "inputs": inputs})
        done = dvc(root, "commit", "--force", "--quiet")
        assert done.returncode == 0, done.stderr
        run(root, "git", "add", "--all")
        run(root, "git", "commit", "--quiet", "--message", f"run {number}")
        return run(root, "git", "rev-parse", "HEAD").strip()

    return make


@pytest.mark.slow
def test_a_version_comes_back_after_the_workspace_went_on(project, settings, registry, checkout, tmp_path_factory):
    first = checkout(1)
    digests = {path: sha256_file(project.root / path / MANIFEST) for path in OUTPUTS}
    version = register(project, settings)
    checkout(2)
    collected = dvc(project.root, "gc", "--workspace", "--force")
    assert collected.returncode == 0, collected.stderr
    target = tmp_path_factory.mktemp("back") / "version 1"
    found = restore(project, registry, version, target)
    assert (found["commit"], found["patched"], found["only_here"]) == (first, False, [])
    assert run(target, "git", "rev-parse", "HEAD").strip() == first
    assert json.loads((target / RAW / "行.jsonl").read_text("utf-8"))["instruction"] == "第 1 版"
    assert {path: sha256_file(target / path / MANIFEST) for path in OUTPUTS} == digests
    assert found["outputs"] == {PREPARED: "as registered", ADAPTER: "as in dvc.lock", AWQ: "as registered"}
    assert "make setup" in restored_words(found)
    assert dvc(target, "status", "--quiet").returncode == 0


@pytest.mark.slow
def test_what_differed_from_the_commit_comes_back_too(project, settings, registry, checkout, tmp_path):
    checkout(1)
    params = project.root / "params.yaml"
    params.write_text(params.read_text("utf-8") + "# 试验\n", "utf-8")
    (project.root / "dvc.yaml").write_text((project.root / "dvc.yaml").read_text("utf-8") + "# 改过\n", "utf-8")
    version = register(project, settings)
    assert version.tags["tunegate.git_commit"].endswith("-dirty")
    found = restore(project, registry, version, tmp_path / "back")
    assert found["patched"]
    for name in ("params.yaml", "dvc.yaml"):
        assert (tmp_path / "back" / name).read_bytes() == (project.root / name).read_bytes()


@pytest.mark.slow
def test_raw_data_that_no_commit_has_is_named_and_not_copied(project, settings, registry, checkout, tmp_path, caplog):
    checkout(1)
    (project.root / RAW / "新增.jsonl").write_text('{"instruction": "张三 13800138000"}', "utf-8")
    (project.root / RAW / "行.jsonl").write_text('{"instruction": "改过的"}', "utf-8")
    version = register(project, settings)
    assert "新增.jsonl" in caplog.text
    folder = registry.files(version, "checkout", tmp_path)
    assert sorted(read_json(folder / "checkout.json")["only_here"]) == [f"{RAW}/新增.jsonl", f"{RAW}/行.jsonl"]
    kept = "".join(path.read_text("utf-8") for path in folder.iterdir())
    assert "13800138000" not in kept
    assert "改过的" not in kept


@pytest.mark.slow
def test_what_cannot_come_back_says_why(project, settings, registry, checkout, tmp_path):
    checkout(1)
    version = register(project, settings)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        restore(project, registry, version, tmp_path / "full")
    run(project.root, "git", "checkout", "--quiet", "--orphan", "other")
    run(project.root, "git", "branch", "-D", "main")
    run(project.root, "git", "commit", "--quiet", "--message", "other history")
    run(project.root, "git", "reflog", "expire", "--expire=now", "--all")
    run(project.root, "git", "gc", "--quiet", "--prune=now")
    with pytest.raises(ConfigError, match="is not in this clone"):
        restore(project, registry, version, tmp_path / "back")


@pytest.mark.slow
def test_a_dvc_lock_of_another_run_is_found(project, settings, registry, checkout, tmp_path):
    checkout(1)
    lock = (project.root / "dvc.lock").read_bytes()
    checkout(2)
    (project.root / "dvc.lock").write_bytes(lock)  # the stages ran without DVC: its lock is of the run before
    version = register(project, settings)
    with pytest.raises(DataContractError, match=r"dvc\.lock was of another run"):
        restore(project, registry, version, tmp_path / "back")


@pytest.mark.slow
def test_prune_lets_go_of_what_only_pruned_versions_name(project, settings, registry, checkout, host):
    for number in (1, 2, 3):
        checkout(number)
        register(project, settings)
    before = {path.name for path in kept_folder(project).rglob("*") if path.is_file()}
    prune(project, registry, keep=2)
    after = {path.name for path in kept_folder(project).rglob("*") if path.is_file()}
    assert after < before
    dvc(project.root, "gc", "--workspace", "--force")
    for number in ("2", "3"):
        target = project.root.parent / f"back-{number}"
        found = restore(project, registry, registry.version(number), target)
        assert "absent" not in found["outputs"].values()
