"""A run on its branch: real git; what a checkout has open stays as it is, and the same run is the same commit."""

import shutil
from pathlib import Path

import pytest

from flows.run_branch import branch_name, keep_on_branch, push_branch, require_branch
from flows.worktree import make_worktree
from tasks.core.errors import ConfigError, TransientError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tests.flows.clones import run
from tests.flows.test_worktree import checkout, head

__all__ = ["checkout"]

VERDICT = {"verdict": "PASS", "lineage_id": "tg-1"}
LOCK = "schema: '2.0'\nstages:\n  准备: {}\n"


def ran(checkout: Project, lock: str = LOCK, push_to: str = "null"):
    """The folder of a run of the checkout's commit that has ended, and its settings."""
    text = (checkout.root / "params.yaml").read_text("utf-8").replace("  branch: null", "  branch: runs", 1)
    text = text.replace("  push_to: null", f"  push_to: {push_to}", 1)
    folder = make_worktree(checkout, head(checkout), text)
    (folder.root / "dvc.lock").write_text(lock, "utf-8")
    return folder, load_settings(folder.root / "params.yaml")


def shown(project: Project, what: str) -> str:
    return run(project.root, "git", "show", what)


def test_a_run_is_kept_and_the_checkout_stays_as_it_is(checkout):
    (checkout.root / "tasks/code.py").write_text("WORD = '在改'\n", "utf-8")
    (checkout.root / "staged.txt").write_text("准备提交", "utf-8")
    run(checkout.root, "git", "add", "staged.txt")
    index = (checkout.root / ".git/index").read_bytes()
    folder, settings = ran(checkout)
    inside = run(folder.root, "git", "status", "--porcelain")
    kept = keep_on_branch(folder, settings, VERDICT)
    name = kept["branch"]
    assert name == branch_name(folder, settings, head(checkout))
    assert name.startswith(f"runs/laptop-{head(checkout)[:12]}-")
    assert run(checkout.root, "git", "rev-parse", f"{name}^") == head(checkout)
    assert shown(checkout, f"{name}:dvc.lock") == LOCK.strip()
    assert "  branch: runs" in shown(checkout, f"{name}:params.yaml")
    changed = run(checkout.root, "git", "diff", "--name-only", head(checkout), name).split()
    assert changed == ["dvc.lock", "params.yaml"]
    assert run(checkout.root, "git", "log", "-1", "--format=%s", name) == "Run of laptop: PASS, lineage tg-1"
    # Index, branch and files are what they were, in both folders.
    assert (checkout.root / ".git/index").read_bytes() == index
    assert run(checkout.root, "git", "branch", "--show-current") == "main"
    assert (checkout.root / "tasks/code.py").read_text("utf-8") == "WORD = '在改'\n"
    assert run(folder.root, "git", "status", "--porcelain") == inside


def test_the_same_run_is_the_same_commit_and_another_lock_one_on_top(checkout, tmp_path):
    other = Project(tmp_path / "另一台")
    run(tmp_path, "git", "clone", "--quiet", str(checkout.root), str(other.root))
    folder, settings = ran(checkout)
    kept = keep_on_branch(folder, settings, VERDICT)
    assert keep_on_branch(folder, settings, VERDICT) == kept
    run(checkout.root, "git", "branch", "-D", "--quiet", kept["branch"])
    assert keep_on_branch(folder, settings, VERDICT) == kept
    assert keep_on_branch(*ran(other), VERDICT) == kept, "on every machine"
    (folder.root / "dvc.lock").write_text(LOCK + "  训练: {}\n", "utf-8")
    later = keep_on_branch(folder, settings, VERDICT)
    assert later["branch"] == kept["branch"]
    assert run(checkout.root, "git", "rev-parse", f"{later['commit']}^") == kept["commit"]


def test_nothing_is_kept_unasked_and_nothing_pushed_without_a_name(checkout, tmp_path):
    bare = tmp_path / "bare"
    run(tmp_path, "git", "init", "--quiet", "--bare", str(bare))
    run(checkout.root, "git", "remote", "add", "team", str(bare))
    before = run(checkout.root, "git", "for-each-ref")
    folder = make_worktree(checkout, head(checkout), (checkout.root / "params.yaml").read_text("utf-8"))
    settings = load_settings(folder.root / "params.yaml")
    assert (require_branch(folder, settings), keep_on_branch(folder, settings, VERDICT)) == (None, None)
    assert run(checkout.root, "git", "for-each-ref") == before
    folder, settings = ran(checkout)
    name = keep_on_branch(folder, settings, VERDICT)["branch"]
    assert push_branch(folder, settings, name) is None
    assert run(bare, "git", "for-each-ref") == ""
    folder, settings = ran(checkout, push_to="team")
    name = keep_on_branch(folder, settings, VERDICT)["branch"]
    for _ in range(2):
        assert push_branch(folder, settings, name) == "team"
        assert run(bare, "git", "for-each-ref", "--format=%(refname)") == f"refs/heads/{name}"


def test_a_push_that_is_refused_or_not_answered_is_told(checkout, tmp_path):
    bare = tmp_path / "bare"
    run(tmp_path, "git", "clone", "--quiet", "--bare", str(checkout.root), str(bare))
    run(checkout.root, "git", "remote", "add", "team", str(bare))
    folder, settings = ran(checkout, push_to="team")
    name = keep_on_branch(folder, settings, VERDICT)["branch"]
    run(bare, "git", "branch", name, run(bare, "git", "commit-tree", "HEAD^{tree}", "-m", "别人的"))
    with pytest.raises(ConfigError, match=f"git remote team refuses branch {name}"):
        push_branch(folder, settings, name)
    shutil.rmtree(bare)
    with pytest.raises(TransientError, match="was not pushed to team"):
        push_branch(folder, settings, name)
    run(checkout.root, "git", "remote", "remove", "team")
    with pytest.raises(ConfigError, match="has no git remote called 'team'"):
        require_branch(folder, settings)


def test_code_that_no_commit_has_is_kept_on_none(checkout):
    """Planted: a commit of this lock would say that it came from code which it did not come from."""
    folder, settings = ran(checkout)
    (folder.root / "tasks/code.py").write_text("WORD = '手改'\n", "utf-8")
    assert "tasks/code.py" in require_branch(folder, settings)
    assert keep_on_branch(folder, settings, VERDICT) is None
    assert "runs/" not in run(checkout.root, "git", "for-each-ref")


def test_a_branch_that_somebody_works_on_is_not_moved(checkout, tmp_path):
    folder, settings = ran(checkout)
    kept = keep_on_branch(folder, settings, VERDICT)
    run(checkout.root, "git", "worktree", "add", "--quiet", str(tmp_path / "看"), kept["branch"])
    (folder.root / "dvc.lock").write_text(LOCK + "  训练: {}\n", "utf-8")
    with pytest.raises(ConfigError, match=f"{kept['branch']} is checked out"):
        keep_on_branch(folder, settings, VERDICT)
    assert run(checkout.root, "git", "rev-parse", kept["branch"]) == kept["commit"]


def test_a_project_that_is_a_folder_of_a_larger_repository(checkout, tmp_path):
    whole = tmp_path / "大仓库"
    inner = whole / "核应急"
    inner.mkdir(parents=True)
    text = (checkout.root / "params.yaml").read_text("utf-8").replace("  branch: null", "  branch: runs", 1)
    (inner / "params.yaml").write_text(text, "utf-8")
    for words in (("init", "--quiet"), ("add", "-A"), ("commit", "--quiet", "-m", "一")):
        run(whole, "git", *words)
    (inner / "dvc.lock").write_text(LOCK, "utf-8")
    project = Project(inner)
    kept = keep_on_branch(project, load_settings(inner / "params.yaml"), VERDICT)
    assert shown(project, f"{kept['branch']}:核应急/dvc.lock") == LOCK.strip()


@pytest.mark.parametrize(
    ("branch", "push_to", "said"),
    [("../上", "null", "branch"), ("runs/", "null", "branch"), ("runs", "-f", "push_to"), ("null", "team", "push_to")],
)
def test_a_wrong_name_is_refused_when_settings_are_read(tmp_path, branch, push_to, said):
    text = (Path(__file__).parents[2] / "params.yaml").read_text("utf-8")
    text = text.replace("  branch: null", f"  branch: {branch}", 1)
    text = text.replace("  push_to: null", f"  push_to: {push_to}", 1)
    (tmp_path / "params.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said):
        load_settings(tmp_path / "params.yaml")
