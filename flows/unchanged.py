"""Which stages DVC would run, asked once: a run with nothing changed then starts no process for each of them."""

import json
import os
import subprocess

from tasks.core.project import Project

#: Longer than DVC takes to look at a million rows; a status that hangs is no reason to wait.
ANSWER_TIMEOUT_S = 120.0


def changed_stages(project: Project) -> frozenset[str] | None:
    """Return the stages whose command, inputs, settings or outputs are not as dvc.lock has them.

    None where DVC does not say, e.g. because another command holds its lock: then each stage asks for itself. A stage
    after one of these is none of them yet: its inputs change when the earlier one runs.
    """
    try:
        done = subprocess.run(
            ["dvc", "status", "--json"], cwd=project.root, env=os.environ.copy(), capture_output=True,
            text=True, timeout=ANSWER_TIMEOUT_S, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return frozenset(found) if isinstance(found, dict) else None
