"""A checkout for each trial: the files that git knows as they were when the sweep began, and the cache of the project.

A copy and not a git worktree: what runs is what stands in the working tree, edits that are not committed included, and
nothing is left in the repository when a trial's folder is gone. Editing anything during a sweep changes nothing in it.
"""

import os
import shutil
from pathlib import Path
from uuid import uuid4

import yaml

from tasks.core.errors import ConfigError
from tasks.core.files import replaced_directory, write_json, write_text
from tasks.core.project import Project
from tasks.core.tracking import flat
from tasks.release.checkout import git
from tasks.release.kept import dvc
from tasks.stages.table import STAGES
from tasks.sweep.checks import value_at
from tasks.sweep.params_text import with_settings
from tasks.sweep.store import BASE, FACTS, Sweep

#: Local state that does not belong to a run: fetched models and sets, the keys and rules a release is proved with, and
#: what MLflow was not sent yet.
SHARED_STATE = ("models", "datasets", "signing", "tracking", "mlflow-artifacts")
ENVIRONMENTS = (".venv", ".venv-serve")
#: Files from here on are linked between the copies of a sweep: nobody edits data there.
LINKED_FROM_BYTES = 1 << 20


def take_snapshot(sweep: Sweep) -> None:
    """Copy the checkout as it is now into the sweep's folder.

    Raises:
        ConfigError: it is no git checkout.
    """
    root = sweep.project.root
    if not git(root, "rev-parse", "--git-dir"):
        raise ConfigError(f"{root} is no git checkout", "a sweep copies the files that git knows: git init, git add")
    edited = bool(git(root, "status", "--porcelain"))
    write_json(sweep.folder / FACTS, {"commit": git(root, "rev-parse", "HEAD"), "edited": edited, "id": uuid4().hex})
    write_text(sweep.folder / BASE, (root / "params.yaml").read_text(encoding="utf-8"))
    with replaced_directory(sweep.snapshot) as partial:
        models = _local_models(sweep)
        for name in _names(root):
            if not any(Path(name).is_relative_to(model) for model in models):
                _copy(root / name, partial / name)
        for model in models:
            (partial / model).parent.mkdir(parents=True, exist_ok=True)
            (partial / model).symlink_to((root / model).resolve())
        _share(sweep.project, partial)


def prepare_checkout(sweep: Sweep, number: int) -> Project:
    """Return the checkout of a trial; one that a killed run left goes on where it was.

    Raises:
        DataContractError: the trial was never asked for.
    """
    folder, point = sweep.checkout(number), sweep.asked(number)
    wanted = with_settings(sweep.base_text, point)
    params = folder / "params.yaml"
    if not params.is_file() or params.read_text(encoding="utf-8") != wanted:
        with replaced_directory(folder) as partial:
            _copy_tree(sweep.snapshot, partial)
            _link_state(sweep.project, partial)
            write_text(partial / "params.yaml", wanted)
            # Data that git knows only by its digest.
            if files := [path.relative_to(partial).as_posix() for path in sorted((partial / "data").rglob("*.dvc"))]:
                _asked_dvc(partial, "checkout", *files)
    return Project(folder)


def environment_of(sweep: Sweep, trial: Project) -> dict[str, str]:
    """Return the environment in which commands run the trial's code in its folder, and log to the project's MLflow.

    Of the commands and not of this process: several trials may be under way in it.
    """
    paths = [str(trial.root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "TUNEGATE_ROOT": str(trial.root),
        # The environment's own `tunegate` is installed from the project's folder.
        "PYTHONPATH": os.pathsep.join(paths),
        "MLFLOW_TRACKING_URI": sweep.project.mlflow_uri,
    }


def _local_models(sweep: Sweep) -> list[str]:
    """Return the base models that are folders of the checkout: linked, for their weights are no code."""
    root = sweep.project.root
    now = value_at(sweep.base, "base_model")
    tried = [value for key, axis in sweep.plan.space.items() if key.startswith("base_model") for value in axis.ends]
    ids = [value["id"] if isinstance(value, dict) else value for value in (now, *tried)]
    return [name for name in dict.fromkeys(filter(None, map(str, ids))) if _is_folder_of(root, name)]


def _is_folder_of(root: Path, name: str) -> bool:
    """Return whether a name is that of a folder below the root."""
    path = root / name
    return path.is_dir() and not Path(name).is_absolute() and path.resolve() != root and ".." not in Path(name).parts


def _names(root: Path) -> list[str]:
    """Return the files that git knows or would take, and those it ignores that a stage reads all the same."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", check=True).split("\0")
    read = {path for stage in STAGES for path in stage.code} | {"dvc.lock", ".dvc/config", ".dvc/config.local"}
    return [name for name in dict.fromkeys([*filter(None, listed), *sorted(read)]) if _is_file(root, name)]


def _is_file(root: Path, name: str) -> bool:
    """Return whether a file, or a link to anything, is there by this name; what lies behind a link comes with it."""
    path = root / name
    behind = any((root / parent).is_symlink() for parent in Path(name).parents)
    return not behind and (path.is_symlink() or path.is_file())


def _copy(source: Path, target: Path) -> None:
    """Copy one file, or a link as the link it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a folder into one that is there; large files as further names of the same bytes."""

    def place(one: str, other: str) -> str:
        path = Path(one)
        if not path.is_symlink() and path.stat().st_size >= LINKED_FROM_BYTES:
            os.link(one, other)
            return other
        return str(shutil.copy2(one, other, follow_symlinks=False))

    shutil.copytree(source, target, symlinks=True, copy_function=place, dirs_exist_ok=True)


def _share(project: Project, snapshot: Path) -> None:
    """Point a copy at the environments and at the cache of the project, run-cache included."""
    for name in ENVIRONMENTS:
        if (project.root / name).exists():
            (snapshot / name).symlink_to((project.root / name).resolve())
    own, cache = project.root / ".dvc" / "cache", Path(_asked_dvc(project.root, "cache", "dir"))
    if cache == own:
        # A link: DVC 3.67 writes no configuration with a path that has other letters than ASCII.
        cache.mkdir(parents=True, exist_ok=True)
        (snapshot / ".dvc" / "cache").symlink_to(cache)
    else:
        _asked_dvc(snapshot, "config", "--local", "cache.dir", str(cache))
    # The folder lies inside of the project's repository, and is ignored there.
    _asked_dvc(snapshot, "config", "--local", "core.no_scm", "true")


def _asked_dvc(folder: Path, *words: str) -> str:
    """Return what DVC's command line says.

    Raises:
        ConfigError: it refuses.
    """
    done = dvc(folder, *words)
    if done.returncode:
        raise ConfigError(f"dvc {words[0]} in {folder}: {done.stderr.strip()}", "mend what it names, then run again")
    return done.stdout.strip()


def _link_state(project: Project, folder: Path) -> None:
    """Give a trial the local state that all runs of the project share; scratch, logs and failures are its own."""
    state = folder / ".tunegate"
    state.mkdir(exist_ok=True)
    for name in SHARED_STATE:
        (project.state / name).mkdir(parents=True, exist_ok=True)
        (state / name).symlink_to((project.state / name).resolve())


def remove_checkout(sweep: Sweep, number: int) -> None:
    """Delete a trial's folder; its outputs are in the cache, its evaluation in the sweep's reports."""
    shutil.rmtree(sweep.checkout(number), ignore_errors=True)


def remove_all(sweep: Sweep) -> None:
    """Delete the copies of a sweep that is done."""
    for folder in (sweep.folder / "trials", sweep.snapshot):
        shutil.rmtree(folder, ignore_errors=True)


def drift(sweep: Sweep, sections: list[str]) -> list[str]:
    """Return the settings that stages read and that params.yaml has otherwise now than when the sweep began."""
    now = yaml.safe_load((sweep.project.root / "params.yaml").read_text(encoding="utf-8"))
    before, after = dict(flat(sweep.base)), dict(flat(now))
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return [key for key in keys if any(key == section or key.startswith(f"{section}.") for section in sections)]
