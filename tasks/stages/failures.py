"""How a stage tells the process that started it why it failed: DVC turns every exit code into its own."""

from pathlib import Path

from tasks.core.errors import TunegateError, error_record, recorded_error
from tasks.core.files import read_json, write_json
from tasks.core.project import Project


def record_failure(project: Project, stage: str, error: TunegateError) -> None:
    """Keep an error of a stage for its caller."""
    write_json(_path(project, stage), error_record(error))


def clear_failure(project: Project, stage: str) -> None:
    """Forget an earlier error of a stage."""
    _path(project, stage).unlink(missing_ok=True)


def recorded_failure(project: Project, stage: str) -> TunegateError | None:
    """Return the error a stage recorded, as the exception it was, or None."""
    path = _path(project, stage)
    if not path.is_file():
        return None
    return recorded_error(read_json(path))


def _path(project: Project, stage: str) -> Path:
    """Return where a stage's failure is kept."""
    return project.state / "failures" / f"{stage}.json"
