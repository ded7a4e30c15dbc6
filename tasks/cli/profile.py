"""`tunegate profile list | use`: profiles are whole files; using one copies it to params.yaml."""

import logging
import shutil
from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option
from tasks.core.errors import ConfigError
from tasks.core.project import PROFILES, Project
from tasks.core.settings import Settings, load_settings
from tasks.core.table import table

log = logging.getLogger(__name__)


@click.group()
def profile() -> None:
    """List profiles, or write one to params.yaml."""


@profile.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the profiles in infra/profiles; `*` marks the active one, `+` an active one that was edited since."""
    project = Project.here()
    found = [describe(path, project) for path in profile_files(project).values()]
    rows = [[_mark(item), item["name"], item["model"], item["hardware"], item["line"]] for item in found]
    emit(found, as_json=as_json, text=table(["", "profile", "base model", "hardware", "for"], rows))


@profile.command("use")
@click.argument("name")
@json_option
def use(name: str, as_json: bool) -> None:
    """Make profile NAME the active one: check it and write it to params.yaml."""
    project = Project.here()
    files = profile_files(project)
    if name not in files:
        raise ConfigError(f"no profile is called {name!r}", f"one of: {', '.join(files)}")
    changed = use_params(files[name], project)
    value = {"profile": name, "changed": changed, "before": _before(project) if changed else None}
    kept = f"\n  the one before is kept as {value['before']}" if changed else " already"
    emit(value, as_json=as_json, text=f"params.yaml is profile {name}{kept}\n  next: tunegate doctor")


def profile_files(project: Project) -> dict[str, Path]:
    """Return the profiles by name, smallest hardware first.

    Raises:
        ConfigError: there are none, one of them breaks the schema, or one does not carry its own name.
    """
    files = sorted((project.root / PROFILES).glob("*.yaml"))
    if not files:
        raise ConfigError(f"no profiles in {project.root / PROFILES}", f"git checkout {PROFILES}")
    loaded = {path: load_settings(path) for path in files}
    for path, settings in loaded.items():
        if settings.profile != path.stem:
            raise ConfigError(f"{path} says profile: {settings.profile}", f"write profile: {path.stem}")
    files.sort(key=lambda path: loaded[path].hardware.parameters_billion)
    return {path.stem: path for path in files}


def describe(path: Path, project: Project) -> dict[str, Any]:
    """Return what a person chooses a profile by."""
    settings = load_settings(path)
    params = project.root / "params.yaml"
    same = params.is_file() and params.read_bytes() == path.read_bytes()
    return {
        "name": path.stem,
        "active": same or _active_name(params) == path.stem,
        "edited": not same and _active_name(params) == path.stem,
        "model": settings.base_model.id,
        "hardware": hardware_words(settings),
        "line": _first_line(path),
    }


def hardware_words(settings: Settings) -> str:
    """Return the hardware of a profile as a person says it."""
    need = settings.hardware
    gpus = f"{need.gpus} x {need.gpu_memory_gib:g} GB GPU" if need.gpus else "no GPU"
    return f"{gpus}, {need.cpu_memory_gib:g} GB memory, {need.disk_gib:g} GB disk"


def use_params(file: Path, project: Project) -> bool:
    """Check a params file and make it params.yaml; return whether that changed anything.

    The present one is kept as .tunegate/params.before.yaml.

    Raises:
        ConfigError: the file breaks the schema; params.yaml stays as it is.
    """
    load_settings(file)
    target = project.root / "params.yaml"
    if target.is_file():
        if file.resolve() == target.resolve() or file.read_bytes() == target.read_bytes():
            return False
        project.state.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, project.root / _before(project))
    partial = target.with_name(".params.yaml.partial")
    shutil.copyfile(file, partial)
    partial.replace(target)
    log.info("params.yaml is now %s", file)
    return True


def _before(project: Project) -> str:
    """Return where the params file before this one is kept, from the project's root."""
    return (project.state / "params.before.yaml").relative_to(project.root).as_posix()


def _active_name(params: Path) -> str | None:
    """Return the profile params.yaml names, or None where it is absent or wrong (`doctor` says what is wrong)."""
    try:
        return load_settings(params).profile
    except ConfigError:
        return None


def _first_line(path: Path) -> str:
    """Return the first sentence of a profile's first comment, without its opening words."""
    line = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return line.partition(". ")[0].rstrip(".").partition(": ")[2] or line


def _mark(item: dict[str, Any]) -> str:
    """Return the sign before a profile's name."""
    return "+" if item["edited"] else "*" if item["active"] else ""
