"""A finished run on a branch of its own: its dvc.lock and params.yaml on top of the commit that was run.

By git's plumbing: nothing is checked out, no index and no file of a checkout is touched, and the branch is there whole
or as it was. The same run is the same commit, on every machine and however often it is kept.
"""

import logging
import os
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.repo import LOCK_FILE
from flows.worktree import PARAMS, SHORT, changes
from tasks.core.errors import ConfigError, MissingToolError, TransientError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.checkout import git

log = logging.getLogger(__name__)

FILES = (PARAMS, LOCK_FILE)
#: Nobody's: with a person's name the same run would be another commit on the next machine.
NAME, EMAIL = "tunegate", "tunegate@localhost"
#: Without hooks: DVC's would push data, or look at it.
PUSH = ("-c", "core.hooksPath=/dev/null", "push", "--quiet")
REFUSED = re.compile(r"\[(remote )?rejected\]")


def require_branch(project: Project, settings: Settings) -> str | None:
    """Return why a run will be on no branch although one is asked for, None where it will or none is asked for.

    Raises:
        ConfigError: the folder is no git checkout, or has no such git remote.
    """
    asked = settings.hand_over
    if asked.branch is None:
        return None
    if not _head(project):
        raise ConfigError(f"hand_over.branch is {asked.branch}, and {project.root} is no git checkout", "branch: null")
    if asked.push_to and not git(project.root, "remote", "get-url", asked.push_to):
        raise ConfigError(f"hand_over.push_to: {project.root} has no git remote called {asked.push_to!r}",
                          f"git remote add {asked.push_to} <address>, or push_to: null")  # fmt: skip
    if found := changes(project.root):
        return f"it has changes that no commit has: {', '.join(found[:5])}; commit them, or run with rev=HEAD"
    return None


def keep_on_branch(project: Project, settings: Settings, verdict: dict[str, Any]) -> dict[str, str] | None:
    """Commit what a run recorded on its branch, and return {"branch", "commit"}; None where that is not asked for.

    Args:
        project: the run's folder.
        settings: the run's.
        verdict: of the gate; the message says it.

    Raises:
        ConfigError: the branch is checked out somewhere, so that to move it would change what somebody works on.
        TransientError: another run moved it at the same moment.
        MissingToolError: git refuses; its own words are quoted.
    """
    if settings.hand_over.branch is None or require_branch(project, settings):
        return None
    head = _head(project)
    name = branch_name(project, settings, head)
    ref = f"refs/heads/{name}"
    tip = git(project.root, "rev-parse", "--verify", "--quiet", ref)
    tree = _tree(project, head)
    if tip and git(project.root, "rev-parse", f"{tip}^{{tree}}") == tree:
        return {"branch": name, "commit": tip}
    if f"branch {ref}" in git(project.root, "worktree", "list", "--porcelain").splitlines():
        raise ConfigError(f"branch {name} is checked out, so the run is not committed on it", "git worktree list")
    made = _commit(project, tree, tip or head, head, _message(settings, verdict))
    # Only if it is still where it was looked up: empty for a branch that is not there.
    if _asked(project, "update-ref", "-m", "tunegate run", ref, made, tip).returncode:
        raise TransientError(f"branch {name} was moved meanwhile", "run the same command again: stages are kept")
    log.info("run kept on branch %s: %s", name, made)
    return {"branch": name, "commit": made}


def push_branch(project: Project, settings: Settings, name: str) -> str | None:
    """Send a run's branch where the settings say so, and return the git remote; None where they name none.

    Raises:
        ConfigError: the remote refuses it; its own words are quoted.
        TransientError: the remote does not answer.
    """
    remote = settings.hand_over.push_to
    if remote is None:
        return None
    done = _asked(project, *PUSH, remote, f"refs/heads/{name}:refs/heads/{name}")
    said = done.stderr.strip()[-500:]
    if done.returncode and REFUSED.search(done.stderr):
        raise ConfigError(
            f"git remote {remote} refuses branch {name}: {said}", f"git fetch {remote} {name}, and compare"
        )
    if done.returncode:
        raise TransientError(f"branch {name} was not pushed to {remote}: {said}", f"git push {remote} {name}")
    return remote


def branch_name(project: Project, settings: Settings, commit: str) -> str:
    """Return the name of a run's branch: which profile, code and settings, as its worktree's."""
    digest = sha256((project.root / PARAMS).read_bytes()).hexdigest()[:SHORT]
    profile = re.sub(r"[^A-Za-z0-9_-]+", "-", settings.profile)
    return f"{settings.hand_over.branch}/{profile}-{commit[:SHORT]}-{digest}"


def _head(project: Project) -> str:
    """Return the commit of a folder; nothing outside git."""
    return git(project.root, "rev-parse", "--verify", "--quiet", "HEAD")


def _tree(project: Project, commit: str) -> str:
    """Return the tree of a commit with the run's files in it, written with an index of its own."""
    # The project may be a folder of a larger repository.
    above = git(project.root, "rev-parse", "--show-prefix")
    with TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _said(project, "read-tree", commit, variables=index)
        for name in FILES:
            blob = _said(project, "hash-object", "-w", "--no-filters", str(project.root / name))
            entry = f"100644,{blob},{above}{name}"
            _said(project, "update-index", "--add", "--cacheinfo", entry, variables=index)
        return _said(project, "write-tree", variables=index)


def _commit(project: Project, tree: str, parent: str, head: str, message: str) -> str:
    """Return a commit of a tree, by nobody and at the time of the run's code: the same run is the same commit."""
    when = f"@{git(project.root, 'show', '--no-patch', '--format=%ct', head)} +0000"
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", NAME), ("EMAIL", EMAIL), ("DATE", when))}  # fmt: skip
    return _said(project, "commit-tree", tree, "-p", parent, "-m", message, variables=who)


def _message(settings: Settings, verdict: dict[str, Any]) -> str:
    """Return what the commit says."""
    return f"Run of {settings.profile}: {verdict['verdict']}, lineage {verdict['lineage_id']}"


def _said(project: Project, *words: str, variables: dict[str, str] | None = None) -> str:
    """Return what git prints.

    Raises:
        MissingToolError: it failed.
    """
    done = _asked(project, *words, variables=variables)
    if done.returncode:
        raise MissingToolError(f"git {words[0]} failed: {done.stderr.strip()[-500:]}", f"git -C {project.root} status")
    return done.stdout.strip()


def _asked(
    project: Project, *words: str, variables: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run git in a folder, with variables of its own."""
    command = ["git", "-C", str(project.root), *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
                          env={**os.environ, **(variables or {})})  # fmt: skip
