"""The serving interpreter held to its record: which packages answer is part of what an evaluation is made from."""

import importlib.util
from pathlib import Path
from types import ModuleType

from tasks.core.errors import MissingToolError
from tasks.core.project import Project

PACKAGES_NAMED = 4


def load_bootstrap(project: Project) -> ModuleType:
    """Return infra/environments/bootstrap.py as a module: it alone knows what a finished environment is.

    Raises:
        MissingToolError: the file is not there.
    """
    path = project.root / "infra" / "environments" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location("tunegate_bootstrap", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise MissingToolError(f"{path} does not exist", "git checkout infra/environments")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def require_as_recorded(project: Project) -> None:
    """Refuse a serving interpreter that holds other packages than `make setup` recorded.

    DVC compares the record alone, so an interpreter changed behind it would give new answers under an old name.

    Raises:
        MissingToolError: there is no record, the interpreter does not run, or it holds something else.
    """
    bootstrap = load_bootstrap(project)
    record: Path = bootstrap.INSTALLED
    if not record.is_file():
        raise MissingToolError(f"{record} does not exist: which vLLM would answer is not on record", "make setup")
    try:
        found = set(bootstrap.installed_packages(project.serve_python).splitlines())
    except bootstrap.SetupError as error:
        raise MissingToolError(str(error), "make setup") from error
    expected = set(record.read_text(encoding="utf-8").splitlines())
    if found != expected:
        raise MissingToolError(
            f"{project.serve_python} is not as recorded in {record.name}: {_differences(found, expected)}",
            "make setup records what is there; the evaluations are then made anew",
        )


def _differences(found: set[str], expected: set[str]) -> str:
    """Return the first packages that differ, in words."""
    lines = [f"{name} is not recorded" for name in sorted(found - expected)]
    lines += [f"{name} is recorded" for name in sorted(expected - found)]
    more = f" and {len(lines) - PACKAGES_NAMED} more" if len(lines) > PACKAGES_NAMED else ""
    return "; ".join(lines[:PACKAGES_NAMED]) + more
