"""Reading and writing JSON, JSON Lines and whole directories so that nothing half-written is taken for finished."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        DataContractError: the file is absent or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataContractError(f"{path} does not exist", "tunegate run makes what is missing") from error
    except ValueError as error:
        raise DataContractError(f"{path} is not valid JSON: {error}", "restore the file: dvc checkout") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, two-space indent and a closing newline, in one rename."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one rename: a reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_jsonl(path: Path) -> Iterator[Any]:
    """Yield the value of each non-empty line of a JSON Lines file.

    Raises:
        DataContractError: a line is not JSON; the message names file and line.
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataContractError(
                        f"{path}:{number} is not valid JSON: {error}", "mend or remove the line, then run again"
                    ) from error


def write_jsonl(path: Path, rows: Iterable[Any], *, sort_keys: bool = True) -> int:
    """Write one JSON object a line (UTF-8) and return the number of lines.

    Args:
        path: file to write.
        rows: objects.
        sort_keys: whether keys are sorted; not where their order means something, as in tools a template writes out.
    """
    lines = [json.dumps(row, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


@contextmanager
def replaced_directory(final: Path) -> Iterator[Path]:
    """Give an empty directory to fill; on success it takes the place of `final`, on failure it is removed."""
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
