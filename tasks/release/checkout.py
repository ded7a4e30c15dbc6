"""What brings the code, settings and data of a run back: commit, what differs from it, params.yaml, dvc.lock."""

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tasks.core.errors import MissingToolError
from tasks.core.files import write_json
from tasks.core.layout import RAW

log = logging.getLogger(__name__)

FACTS, PATCH, LOCK, PARAMS = "checkout.json", "changes.patch", "dvc.lock", "params.yaml"
#: A change of raw data may be large and personal: it is named, not copied into the record.
NOT_COPIED = "data"


def write_checkout(root: Path, folder: Path) -> dict[str, Any]:
    """Write what brings this checkout back into a folder, and return its facts.

    Returns:
        {"commit": hash or None outside git, "changed": tracked files that differ from it, "only_here": files of the
        raw data that neither git nor DVC has, "lock": whether there is a dvc.lock}.
    """
    for name in (PARAMS, LOCK):
        if (root / name).is_file():
            shutil.copyfile(root / name, folder / name)
    commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    changed = _lines(git(root, "diff", "--name-only", "-z", "HEAD")) if commit else []
    if any(not name.startswith(f"{NOT_COPIED}/") for name in changed):
        patch = git(root, "diff", "--binary", "HEAD", "--", ".", f":(exclude){NOT_COPIED}")
        (folder / PATCH).write_text(f"{patch}\n", encoding="utf-8", errors="surrogateescape")
    untracked = _lines(git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", RAW)) if commit else []
    only_here = [*untracked, *(name for name in changed if name.startswith(f"{RAW}/"))]
    facts = {"commit": commit or None, "changed": changed, "only_here": only_here, "lock": (root / LOCK).is_file()}
    write_json(folder / FACTS, facts)
    if only_here:
        named = ", ".join(only_here[:3]) + (", ..." if len(only_here) > 3 else "")
        log.warning("register: in no commit, so that this version cannot bring it back: %s; git add or dvc add", named)
    return facts


def commit_words(facts: dict[str, Any]) -> str:
    """Return the commit as a tag says it, marked where the tree differed from it."""
    return f"{facts['commit'] or 'not a git checkout'}{'-dirty' if facts['changed'] else ''}"


def git(root: Path, *words: str, check: bool = False) -> str:
    """Return what git prints, without the last line's end; nothing where it fails and is not checked.

    Raises:
        MissingToolError: there is no git; or the call failed and was to be checked.
    """
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except FileNotFoundError as error:
        raise MissingToolError("git is not installed", "apt-get install git") from error
    if done.returncode and check:
        raise MissingToolError(f"git {words[0]} failed: {done.stderr.strip()[-500:]}", f"git -C {root} status")
    return "" if done.returncode else done.stdout.removesuffix("\n")


def _lines(text: str) -> list[str]:
    """Return names that git separates by NUL."""
    return [name for name in text.split("\0") if name]
