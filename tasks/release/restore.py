"""A registered version brought back as a checkout: its code, its settings, its dvc.lock, its data."""

import logging
import shutil
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.layout import ADAPTER, AWQ, PREPARED
from tasks.core.manifest import MANIFEST, read_manifest
from tasks.core.project import Project
from tasks.release.checkout import FACTS, LOCK, PARAMS, PATCH, git
from tasks.release.kept import dvc, kept_folder
from tasks.release.registry import CHECKOUT, PREFIX, Registry, Version

log = logging.getLogger(__name__)

REMOTE = "kept"
OUTPUTS = (PREPARED, ADAPTER, AWQ)


def restore(project: Project, registry: Registry, version: Version, target: Path) -> dict[str, Any]:
    """Make a checkout as it was when a version was registered, and return what of it is there.

    Args:
        project: the clone that has the commit; its kept objects and its DVC remotes give the data.
        registry: where the version is.
        version: which.
        target: a folder that does not exist yet, or is empty.

    Returns:
        {"version", "commit", "folder", "patched", "outputs": {path: "as registered" | "as in dvc.lock" | "absent"},
        "only_here": files of the raw data that no commit has}.

    Raises:
        ConfigError: the folder is not empty, the commit is not in this clone, or the version cannot be brought back.
        DataContractError: what came back is not what the version was made from.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty", "name a folder that does not exist")
    if version.contents_sha256 is None:
        raise ConfigError(f"version {version.number} was registered before its checkout was kept with it",
                          f"tunegate lineage {version.number} names its commit")  # fmt: skip
    record = registry.files(version, CHECKOUT, project.state / "serving" / "evidence" / version.number)
    facts = read_json(record / FACTS)
    patched = _check_out(project.root, facts, record, target)
    for name in (PARAMS, LOCK):
        if (record / name).is_file():
            shutil.copyfile(record / name, target / name)
    if facts["lock"]:
        _pull(project, target)
    return {
        "version": version.number,
        "commit": facts["commit"],
        "folder": str(target),
        "patched": patched,
        "outputs": _outputs(target, version),
        "only_here": facts["only_here"],
    }


def restored_words(found: dict[str, Any]) -> str:
    """Return what was brought back as text for a person."""
    lines = [f"version {found['version']} is at {found['folder']}, commit {found['commit']}"
             + (", with the changes it had" if found["patched"] else "")]  # fmt: skip
    lines += [f"  {path}: {state}" for path, state in found["outputs"].items()]
    if found["only_here"]:
        lines.append(f"  {len(found['only_here'])} files of data/raw were in no commit: not brought back")
    lines.append(f"next: cd {found['folder']}, make setup, then tunegate run makes what is absent")
    return "\n".join(lines)


def _check_out(root: Path, facts: dict[str, Any], record: Path, target: Path) -> bool:
    """Clone, go to the commit, put back what differed from it, and return whether anything did."""
    commit = facts["commit"]
    if not commit:
        raise ConfigError("this version was not made in a git checkout: its code is in no commit", "tunegate lineage")
    if not git(root, "cat-file", "-t", commit):
        raise ConfigError(f"commit {commit} is not in this clone", "git fetch --all, then try again")
    target.parent.mkdir(parents=True, exist_ok=True)
    log.info("restore: code of commit %s", commit)
    git(root, "clone", "--quiet", "--no-checkout", str(root), str(target.resolve()), check=True)
    git(target, "checkout", "--quiet", "--detach", commit, check=True)
    if (record / PATCH).is_file():
        git(target, "apply", "--whitespace=nowarn", str((record / PATCH).resolve()), check=True)
    return (record / PATCH).is_file()


def _pull(project: Project, target: Path) -> None:
    """Bring the outputs of dvc.lock: from the kept objects first, then from the project's own remote."""
    for words in (("remote", "add", "--local", "--force", REMOTE, str(kept_folder(project).resolve())),
                  ("pull", "--remote", REMOTE, "--allow-missing"), ("pull", "--allow-missing")):  # fmt: skip
        done = dvc(target, *words)
        # A remote that is not there is told by what is absent afterwards.
        log.debug("dvc %s: %d %s", words[0], done.returncode, done.stderr[-500:])


def _outputs(target: Path, version: Version) -> dict[str, str]:
    """Return which outputs are there, held to the version as far as it names them.

    Raises:
        DataContractError: one is there and is not the version's.
    """
    states = {path: "as in dvc.lock" if (target / path / MANIFEST).is_file() else "absent" for path in OUTPUTS}
    if states[AWQ] == "absent":
        return states
    made_from = read_manifest(target / AWQ)["inputs"]["prepared"]["manifest_sha256"]
    for path, expected in ((AWQ, version.tags.get(f"{PREFIX}awq_manifest_sha256")), (PREPARED, made_from)):
        if states[path] != "absent" and sha256_file(target / path / MANIFEST) != expected:
            raise DataContractError(
                f"{target / path} is not what version {version.number} was made from: its dvc.lock was of another run",
                f"tunegate lineage {version.number} names what it was made from",
            )
        states[path] = "as registered" if states[path] != "absent" else "absent"
    return states
