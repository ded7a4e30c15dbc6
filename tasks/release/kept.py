"""What registered versions were made from, kept beside the DVC cache: `dvc gc` knows the workspace, not the registry.

Objects are hard links to the cache where both lie on one disk, so keeping costs nothing until the cache lets go. The
folder has the layout of a DVC remote.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from tasks.core.errors import MissingToolError
from tasks.core.project import Project

OBJECTS = "files/md5"
DIRECTORY = ".dir"


def kept_folder(project: Project) -> Path:
    """Return the folder of the kept objects: usable as a DVC remote."""
    return project.state / "kept"


def keep(project: Project, lock: Path) -> list[str]:
    """Keep every object of the outputs that a dvc.lock names, and return the outputs the cache does not have whole."""
    if not lock.is_file():
        # Asking DVC where its cache is takes half a second.
        return []
    cache = _cache(project) / OBJECTS
    missing: list[str] = []
    for path, objects in _outputs(lock, [cache, kept_folder(project) / OBJECTS]):
        kept = [_keep_one(project, cache, name) for name in objects]
        missing += [] if all(kept) else [path]
    return missing


def drop_unnamed(project: Project, locks: Iterable[Path]) -> int:
    """Delete kept objects that none of these dvc.locks names, and return how many bytes that freed.

    Bytes that the DVC cache still holds under the same inode are not counted.
    """
    folder = kept_folder(project) / OBJECTS
    named = {name for lock in locks for _, objects in _outputs(lock, [folder]) for name in objects}
    freed = 0
    for path in sorted(folder.glob("*/*")):
        if f"{path.parent.name}{path.name}" not in named:
            stat = path.stat()
            freed += stat.st_size if stat.st_nlink == 1 else 0
            path.unlink()
    return freed


def dvc(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a DVC command in a checkout.

    Raises:
        MissingToolError: DVC is not installed beside this interpreter.
    """
    program = Path(sys.executable).with_name("dvc")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    try:
        return subprocess.run([program, *words], cwd=root, capture_output=True, text=True, env=environment, check=False)
    except FileNotFoundError as error:
        raise MissingToolError(f"{program} does not exist", "make setup") from error


def _cache(project: Project) -> Path:
    """Return the folder of the DVC cache."""
    asked = dvc(project.root, "cache", "dir")
    return Path(asked.stdout.strip()) if asked.returncode == 0 else project.root / ".dvc" / "cache"


def _outputs(lock: Path, places: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield each output that a dvc.lock names and the digests of its objects; nothing where there is no such file."""
    if not lock.is_file():
        return
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    for out in (out for stage in stages.values() for out in stage.get("outs", ())):
        if name := out.get("md5"):
            yield out["path"], [name, *_listed(name, places)]


def _listed(name: str, places: list[Path]) -> list[str]:
    """Return the digests of a folder's files, from its list; none for a file, or where the list is not there."""
    if not name.endswith(DIRECTORY):
        return []
    found = next((path for place in places if (path := place / name[:2] / name[2:]).is_file()), None)
    return [entry["md5"] for entry in json.loads(found.read_text(encoding="utf-8"))] if found else []


def _keep_one(project: Project, cache: Path, name: str) -> bool:
    """Link or copy one object, and return whether it is kept now."""
    source, target = (place / name[:2] / name[2:] for place in (cache, kept_folder(project) / OBJECTS))
    if target.is_file():
        return True
    if not source.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another disk, or one without links.
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    return True
