"""How a stage tells the process that started it why it failed: DVC turns every exit code into its own."""

from pathlib import Path
from typing import Any

from tasks.core import errors
from tasks.core.errors import TunegateError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project


def record_failure(project: Project, stage: str, error: TunegateError) -> None:
    """Keep an error of a stage for its caller."""
    value = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    write_json(_path(project, stage), value)


def clear_failure(project: Project, stage: str) -> None:
    """Forget an earlier error of a stage."""
    _path(project, stage).unlink(missing_ok=True)


def recorded_failure(project: Project, stage: str) -> TunegateError | None:
    """Return the error a stage recorded, as the exception it was, or None."""
    path = _path(project, stage)
    if not path.is_file():
        return None
    value: dict[str, Any] = read_json(path)
    kind: type[TunegateError] = getattr(errors, value["kind"], TunegateError)
    return kind(value["message"], value["hint"])


def _path(project: Project, stage: str) -> Path:
    """Return where a stage's failure is kept."""
    return project.state / "failures" / f"{stage}.json"
