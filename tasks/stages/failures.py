"""How a stage tells the process that started it why it failed: DVC turns every exit code into its own."""

import traceback
from pathlib import Path

from tasks.core.errors import TunegateError, error_record, recorded_error
from tasks.core.files import read_json, write_json
from tasks.core.project import Project

#: How much of a foreign error is told: its name, what it says, and where it was raised.
MESSAGE_CHARACTERS = 2000
LINES = 6

_MEMORY_HINT = (
    "a smaller train.batch_rows or train.max_length_tokens (with more train.gradient_accumulation_steps), or a smaller "
    "profile: tunegate profile list; finished stages are kept"
)


def record_failure(project: Project, stage: str, error: Exception) -> None:
    """Keep an error of a stage for its caller; one that is not ours under its own name, with its last lines."""
    known = error if isinstance(error, TunegateError) else _foreign(stage, error)
    write_json(_path(project, stage), error_record(known))


def clear_failure(project: Project, stage: str) -> None:
    """Forget an earlier error of a stage."""
    _path(project, stage).unlink(missing_ok=True)


def recorded_failure(project: Project, stage: str) -> TunegateError | None:
    """Return the error a stage recorded, as the exception it was, or None."""
    path = _path(project, stage)
    if not path.is_file():
        return None
    return recorded_error(read_json(path))


def _foreign(stage: str, error: Exception) -> TunegateError:
    """Return what a library's error, or a bug of ours, says: its name, its words, the lines it came from."""
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    frames = traceback.extract_tb(error.__traceback__)[-LINES:]
    lines = "\n".join(f"  {_place(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames)
    message = f"stage {stage} ended with {name}: {str(error)[:MESSAGE_CHARACTERS]}\n{lines}"
    memory = isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError"
    again = "mend what it names, then run the same command again: finished stages are kept"
    return TunegateError(message, _MEMORY_HINT if memory else again)


def _place(filename: str) -> str:
    """Return the last parts of a file's path: enough to find it, nothing about the machine."""
    return "/".join(Path(filename).parts[-3:])


def _path(project: Project, stage: str) -> Path:
    """Return where a stage's failure is kept."""
    return project.own / "failures" / f"{stage}.json"
