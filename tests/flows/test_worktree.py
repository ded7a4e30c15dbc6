"""A run's folder: real git, real DVC; what it shares, what it has alone, and which machine refuses."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.run import folder_of, run_of
from flows.worktree import FOLDER, commit_of, make_worktree, settings_text
from tasks.core.errors import ConfigError
from tasks.core.project import OWN, Project
from tests.flows.clones import git_environment, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Project:
    """A clone with one commit: settings, profiles, a stage that says which code and settings it saw."""
    for name, value in git_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TUNEGATE_ROOT", "before")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = tmp_path / "项目"
    (root / "tasks").mkdir(parents=True)
    shutil.copytree(ROOT / "infra/profiles", root / "infra/profiles")
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "tasks" / "code.py").write_text("WORD = '一'\n", "utf-8")
    (root / "tasks" / "__init__.py").touch()
    (root / "dvc.yaml").write_text("stages: {}\n", "utf-8")
    for words in (("init", "--quiet", "--initial-branch", "main"), ("add", "-A"), ("commit", "--quiet", "-m", "一")):
        run(root, "git", *words)
    return Project(root)


def head(project) -> str:
    return run(project.root, "git", "rev-parse", "HEAD")


def steps(project) -> str:
    line = next(line for line in (project.root / "params.yaml").read_text("utf-8").splitlines() if "max_steps" in line)
    return line.partition(":")[2].strip()


def test_a_run_has_its_commit_and_its_settings_whatever_the_checkout_does_meanwhile(checkout):
    (checkout.state / "models").mkdir(parents=True)
    with run_of(checkout, rev="main", params={"train": {"max_steps": 7}}) as asked:
        root = asked.project.root
        assert root.parent == checkout.state / FOLDER
        (checkout.root / "params.yaml").write_text("改了", "utf-8")
        (checkout.root / "tasks/code.py").write_text("WORD = '二'\n", "utf-8")
        asked.require_same_settings()
        assert (asked.settings.train.max_steps, steps(asked.project)) == (7, "7")
        # What the run starts has the run's code and folder, and the state of the checkout.
        said = subprocess.run([sys.executable, "-c", "import tasks.code; print(tasks.code.WORD)"], cwd="/",
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert said.stdout == "一\n"
        assert Project.here() == asked.project
        assert asked.project.state == checkout.state
        assert (root / ".tunegate" / "models").is_dir()
        assert asked.project.own == root / OWN
        assert asked.tags() == ["profile:laptop", f"commit:{head(checkout)}"]
        assert asked.parameters()["rev"] == head(checkout)
    assert (os.environ["TUNEGATE_ROOT"], "PYTHONPATH" in os.environ) == ("before", False)
    run(checkout.root, "git", "checkout", "--quiet", ".")
    with run_of(checkout, rev="main", params={"train": {"max_steps": 7}}) as again:
        assert again.project.root == root, "the same run goes on where it was"
    with run_of(checkout, rev="main") as other:
        assert other.project.root != root
        assert (other.project.root / "params.yaml").read_bytes() == (checkout.root / "params.yaml").read_bytes()


def test_a_worktree_shares_the_cache_and_the_machines_remotes(checkout):
    local = checkout.root / ".dvc/config.local"
    local.write_text("['remote \"team\"']\n    url = s3://dvc\n    endpointurl = http://127.0.0.1:8333\n", "utf-8")
    project = make_worktree(checkout, head(checkout), (checkout.root / "params.yaml").read_text("utf-8"))
    from dvc.repo import Repo

    with Repo(str(project.root)) as ours, Repo(str(checkout.root)) as theirs:
        assert ours.cache.local.path == theirs.cache.local.path == str(checkout.root / ".dvc/cache/files/md5")
        assert ours.config["remote"]["local"]["url"] == str(checkout.state / "dvc-remote")
        assert ours.config["remote"]["team"]["endpointurl"] == "http://127.0.0.1:8333"


def test_a_machine_that_has_not_the_commit_fetches_it_once_or_refuses_by_name(checkout, tmp_path):
    other = Project(tmp_path / "另一台")
    run(tmp_path, "git", "clone", "--quiet", str(checkout.root), str(other.root))
    (checkout.root / "tasks/code.py").write_text("WORD = '三'\n", "utf-8")
    run(checkout.root, "git", "commit", "--quiet", "-am", "二")
    assert commit_of(other, head(checkout)) == head(checkout)
    with (
        pytest.raises(ConfigError, match=f"on {platform.node()} has no commit {'f' * 40}"),
        folder_of(other, "f" * 40, None),
    ):
        pass
    with pytest.raises(ConfigError, match="has no commit --upload-pack"):
        commit_of(other, "--upload-pack=touch x")
    bare = Project(tmp_path / "没有git")
    bare.root.mkdir()
    with pytest.raises(ConfigError, match="is no git checkout"):
        commit_of(bare, "main")
    assert not (other.state / FOLDER).exists()


@pytest.mark.parametrize("path", ["tasks/code.py", "data/raw/新.jsonl"])
def test_changes_that_no_commit_has_are_refused_where_they_were_not_asked_for(checkout, path):
    (checkout.root / "notes.txt").write_text("not code", "utf-8")
    (checkout.root / path).parent.mkdir(parents=True, exist_ok=True)
    with (checkout.root / path).open("a", encoding="utf-8") as stream:
        stream.write("# 改了\n")
    with (
        pytest.raises(ConfigError, match=f"has changes that no commit has: {path}"),
        run_of(checkout, params={"train": {"max_steps": 7}}),
    ):
        pass
    with run_of(checkout, rev="HEAD") as asked:
        assert asked.commit == head(checkout)
    with run_of(checkout) as asked:  # the checkout as it stands
        assert asked.project == checkout
        assert asked.tags()[1] == f"commit:{head(checkout)}-dirty"


def test_with_a_remote_between_machines_a_run_of_the_checkout_needs_a_commit(checkout):
    params = (checkout.root / "params.yaml").read_text("utf-8").replace("  remote: null", "  remote: hand", 1)
    (checkout.root / "params.yaml").write_text(params, "utf-8")
    with run_of(checkout) as asked:  # settings go with the run: they need no commit
        assert asked.parameters() == {"rev": head(checkout), "params_yaml": params, "remote": "hand"}
        with folder_of(checkout, head(checkout), params) as project:
            assert (project.root / "params.yaml").read_text("utf-8") == params
    (checkout.root / "tasks/code.py").write_text("WORD = '四'\n", "utf-8")
    with pytest.raises(ConfigError, match="has changes that no commit has"), run_of(checkout):
        pass


def test_wrong_settings_are_refused_before_anything_is_made(checkout):
    for given, said in (({"params": {"train": {"max_stesp": 7}}}, r"train\.max_stesp"),
                        ({"params": {"train": {"max_steps": "many"}}}, r"train\.max_steps"),
                        ({"profile": "no-such"}, r"has no infra/profiles/no-such\.yaml"),
                        ({"profile": "../../params"}, r"has no ")):  # fmt: skip
        with pytest.raises(ConfigError, match=said), run_of(checkout, rev="HEAD", **given):
            pass
    assert list((checkout.state / FOLDER).glob("*")) == []
    assert "profile: verify-7b" in settings_text(checkout, head(checkout), None, "verify-7b", None)


def test_settings_that_change_under_a_run_of_the_checkout_end_it(checkout):
    with run_of(checkout) as asked:
        asked.require_same_settings()
        text = (checkout.root / "params.yaml").read_text("utf-8")
        (checkout.root / "params.yaml").write_text(f"# 一句话\n{text}", "utf-8")
        asked.require_same_settings()
        (checkout.root / "params.yaml").write_text(text.replace("max_steps: 75", "max_steps: 76"), "utf-8")
        with pytest.raises(ConfigError, match="was changed while the run was under way"):
            asked.require_same_settings()


def test_a_half_made_folder_is_made_anew_and_a_changed_one_refused(checkout):
    text = (checkout.root / "params.yaml").read_text("utf-8")
    root = make_worktree(checkout, head(checkout), text).root
    (root / OWN).rmdir()  # made last
    (root / "tasks/code.py").unlink()
    (root / "params.yaml").write_text("半", "utf-8")
    assert (make_worktree(checkout, head(checkout), text).root / "tasks/code.py").is_file()
    shutil.rmtree(root)  # by hand: git still lists it
    make_worktree(checkout, head(checkout), text)
    # One that nobody came back to makes place for the next.
    os.utime(root / OWN, (0, 0))
    make_worktree(checkout, head(checkout), text + "# 另一个\n")
    assert not root.exists()
    make_worktree(checkout, head(checkout), text)
    (root / "tasks/code.py").write_text("WORD = '手改'\n", "utf-8")
    with pytest.raises(ConfigError, match=r"was changed: tasks/code\.py"):
        make_worktree(checkout, head(checkout), text)
