"""A run's own folder: a git worktree at its commit with its settings; data and state are shared with the checkout.

A run is (commit, settings), and so is its folder: the same run, started again, finds its half-done training there. On
every machine the folder is made from that machine's own clone; one that has not the commit refuses.
"""

import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import ConfigError
from tasks.core.exclusive import exclusively
from tasks.core.files import write_text
from tasks.core.project import OWN, PROFILES, Project
from tasks.core.settings import load_settings
from tasks.release.checkout import git
from tasks.stages.table import SERVE_INSTALLED

PARAMS = "params.yaml"
#: A run's settings and what it recorded: a worktree has its own, and neither is a change of its code.
OF_THE_RUN = frozenset({PARAMS, "dvc.lock"})
#: What may lie in a checkout without being in a commit. Below these a file that git does not know is code or data.
CODE_AND_DATA = ("tasks", "flows", "data/raw")
FOLDER = "worktrees"
LOCK_WAIT_S = 300.0
#: A folder that no run has begun in for so long is removed when another is made; its outputs stay in DVC's cache.
UNUSED_S = 14 * 24 * 3600.0
SHORT = 12


def commit_of(checkout: Project, rev: str) -> str:
    """Return the commit that a name means in this machine's clone, which is brought up to date first.

    A full hash that it has is fetched for by nobody, and neither is HEAD.

    Raises:
        ConfigError: no clone, or it has no such commit.
    """
    if not git(checkout.root, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise ConfigError(f"{_here(checkout)} is no git checkout: it cannot go to {rev}", "git clone it there")
    found = _resolved(checkout, rev)
    if not found or not (rev == "HEAD" or found == rev):
        # Not reached, or nothing to reach: what the clone has counts.
        git(checkout.root, "fetch", "--quiet", "--all")
        found = _resolved(checkout, rev)
    if not found:
        raise ConfigError(f"{_here(checkout)} has no commit {rev}", "git push it, and git fetch there")
    return found


def changes(root: Path) -> list[str]:
    """Return what of a checkout is in no commit, but for its settings and dvc.lock."""
    changed = git(root, "diff", "--name-only", "-z", "HEAD").split("\0")
    new = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *CODE_AND_DATA).split("\0")
    return sorted({name for name in (*changed, *new) if name} - OF_THE_RUN)


def clean_commit(checkout: Project) -> str:
    """Return the commit of a checkout that has nothing beside it: what another machine can have too.

    Raises:
        ConfigError: it is no git checkout, or has changes that no commit has; they are named.
    """
    commit = commit_of(checkout, "HEAD")
    if found := changes(checkout.root):
        named = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise ConfigError(f"{_here(checkout)} has changes that no commit has: {named}",
                          "git commit them; or name a commit: rev=HEAD runs without them")  # fmt: skip
    return commit


def code_words(root: Path) -> str | None:
    """Return the commit of a folder as a run's tag says it, marked where the code differs; None outside git."""
    commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    return f"{commit}{'-dirty' if changes(root) else ''}" if commit else None


def settings_text(
    checkout: Project, commit: str, rev: str | None, profile: str | None, params: dict[str, Any] | None
) -> str:
    """Return the params.yaml of a run, checked.

    Args:
        checkout: its clone has the commit.
        commit: of the run.
        rev: as it was asked for; without it, the checkout's settings as they stand now are the run's.
        profile: a profile's file in place of params.yaml.
        params: values in place of the file's, e.g. {"train": {"max_steps": 20}}.

    Raises:
        ConfigError: the commit has no such profile, or a setting is wrong; each is named.
    """
    path = f"{PROFILES}/{profile}.yaml" if profile else PARAMS
    if rev is None and profile is None:
        text = (checkout.root / PARAMS).read_text(encoding="utf-8")
    else:
        text = git(checkout.root, "show", f"{commit}:{path}") + "\n"
    if not text.strip():
        raise ConfigError(f"commit {commit[:SHORT]} has no {path}", "git show lists what it has")
    if params:
        text = yaml.safe_dump(_merged(yaml.safe_load(text), params), allow_unicode=True, sort_keys=False, width=120)
    _check(checkout, text)
    return text


def make_worktree(checkout: Project, commit: str, text: str) -> Project:
    """Have the folder of a run and return it.

    Args:
        checkout: whose clone, DVC cache, environments and state it shares.
        commit: full hash.
        text: of params.yaml.

    Raises:
        ConfigError: this machine's clone has not the commit, or somebody changed the folder's code.
    """
    commit = commit_of(checkout, commit)
    folder = checkout.state / FOLDER
    root = folder / f"{commit[:SHORT]}-{sha256(text.encode()).hexdigest()[:SHORT]}"
    busy = (f"{folder} is being changed by another run", "run the same command again")
    with exclusively(folder / ".lock", wait_s=LOCK_WAIT_S, busy=busy):
        # The last thing that is made: without it the folder is half made.
        if not (root / OWN).is_dir():
            _forget_unused(checkout, folder)
            _make(checkout, commit, root)
        if (root / PARAMS).read_text(encoding="utf-8") != text:
            write_text(root / PARAMS, text)
        _share_dvc(checkout.root, root)
        (root / OWN).mkdir(exist_ok=True)
        os.utime(root / OWN)
    if git(root, "rev-parse", "HEAD") != commit or (found := changes(root)):
        raise ConfigError(f"{_here(Project(root))} was changed: {', '.join(found[:5])}",
                          f"git worktree remove --force {root}")  # fmt: skip
    return Project(root)


@contextmanager
def entered(project: Project) -> Iterator[Project]:
    """Have this process, and all that it starts, work in a run's folder and with its code.

    The code of a stage is the run's commit's: the environment has the package installed from the checkout, and what
    PYTHONPATH names comes before it. The flow itself stays what the worker has.
    """
    before = {name: os.environ.get(name) for name in ("TUNEGATE_ROOT", "PYTHONPATH")}
    path = os.pathsep.join([str(project.root), *filter(None, [before["PYTHONPATH"]])])
    os.environ.update(TUNEGATE_ROOT=str(project.root), PYTHONPATH=path)
    try:
        yield project
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def _resolved(checkout: Project, rev: str) -> str:
    """Return the full hash of a commit; nothing where the clone has it not."""
    return git(checkout.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")


def _here(project: Project) -> str:
    """Return a folder and whose it is: which of several workers refuses."""
    return f"{project.root} on {platform.node()}"


def _merged(values: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Return settings with some of them changed; sections are merged, all else is replaced."""
    found = dict(values)
    for name, value in changed.items():
        inside = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = _merged(found[name], value) if inside else value
    return found


def _check(checkout: Project, text: str) -> None:
    """Refuse settings that are wrong, before anything is made of them."""
    path = checkout.state / FOLDER / f"asked-{sha256(text.encode()).hexdigest()[:SHORT]}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    try:
        load_settings(path)
    finally:
        path.unlink(missing_ok=True)


def _make(checkout: Project, commit: str, root: Path) -> None:
    """Make a worktree, in place of what a killed run may have left half made, and link what it shares."""
    git(checkout.root, "worktree", "remove", "--force", "--force", str(root))
    shutil.rmtree(root, ignore_errors=True)
    git(checkout.root, "worktree", "prune")
    # Without hooks: DVC's would check data out before it knows the cache.
    git(checkout.root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(root), commit,
        check=True)  # fmt: skip
    for name in (".venv", ".venv-serve", checkout.state.name):
        if (checkout.root / name).exists() and not (root / name).exists():
            (root / name).symlink_to((checkout.root / name).resolve())
    # `make setup` writes it, so no commit has it; stages depend on it.
    source, target = checkout.root / SERVE_INSTALLED, root / SERVE_INSTALLED
    if source.is_file() and not target.exists() and target.parent.is_dir():
        shutil.copyfile(source, target)


def _forget_unused(checkout: Project, folder: Path) -> None:
    """Remove worktrees that nobody came back to."""
    for own in folder.glob(f"*/{OWN}"):
        if time.time() - own.stat().st_mtime > UNUSED_S:
            git(checkout.root, "worktree", "remove", "--force", str(own.parent))


def _share_dvc(source: Path, target: Path) -> None:
    """Have a worktree use the checkout's DVC cache, and its remotes and logins: they are of the machine, not the code.

    A remote's relative address is one from the checkout's folder.
    """
    from configobj import ConfigObj
    from dvc.config import merge
    from dvc.repo import Repo

    with Repo(str(source)) as theirs:
        local: dict[str, Any] = theirs.config.load_one("local")
        merge(local, {"cache": {"dir": str(theirs.cache.local_cache_dir)}})
        for name, remote in theirs.config["remote"].items():
            if "://" not in remote["url"]:
                merge(local, {"remote": {name: {"url": str(remote["url"])}}})
    named = {f'{kind} "{name}"': values for kind in ("remote", "machine", "db")
             for name, values in local.pop(kind, {}).items()}  # fmt: skip
    # Not by DVC 3.67: it writes its settings as ASCII, and a path may be anything.
    lines = ConfigObj({name: values for name, values in (local | named).items() if values}).write()
    write_text(target / ".dvc" / "config.local", "\n".join([*lines, ""]))
