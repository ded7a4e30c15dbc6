"""The wish that nothing is served, on disk: what a person stopped, no schedule starts again."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.serving.paths import serving_folder


@dataclass(frozen=True)
class Stopped:
    """Who stopped serving.

    Args:
        by: the person.
        time: when, UTC.
    """

    by: str
    time: str

    @property
    def words(self) -> str:
        """The wish as a person reads it."""
        return f"stopped by {self.by} at {self.time}; tunegate serve starts it"


def stopped(project: Project) -> Stopped | None:
    """Return who stopped serving, None where nobody did or somebody has started it since."""
    path = _path(project)
    return Stopped(**read_json(path)) if path.is_file() else None


def record_stop(project: Project, by: str) -> None:
    """Write down that a person wants nothing served."""
    keep_stopped(project, Stopped(by, datetime.now(UTC).isoformat(timespec="seconds")))


def keep_stopped(project: Project, wish: Stopped) -> None:
    """Write a wish down again, after what was started for a moment has ended."""
    path = _path(project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, asdict(wish))


def lift_stop(project: Project) -> None:
    """Forget the wish: somebody has asked for serving."""
    _path(project).unlink(missing_ok=True)


def _path(project: Project) -> Path:
    """Return the file of the wish."""
    return serving_folder(project) / "stopped.json"
