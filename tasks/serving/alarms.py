"""Alarms about what is live, kept where the serving plane keeps its state: `tunegate top` shows the last ones."""

import json
from collections.abc import Sequence
from typing import Any

from tasks.core.files import read_jsonl
from tasks.core.project import Project
from tasks.serving.paths import alarms_path


def record_alarms(project: Project, alarms: Sequence[dict[str, Any]]) -> None:
    """Add alarms to the file.

    Args:
        alarms: {"time", "kind", "what", "next", "version"} each.
    """
    path = alarms_path(project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(alarm, ensure_ascii=False) + "\n" for alarm in alarms)


def read_alarms(project: Project) -> list[dict[str, Any]]:
    """Return every alarm, oldest first."""
    path = alarms_path(project)
    return list(read_jsonl(path)) if path.is_file() else []
