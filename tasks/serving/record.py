"""What the host serves, on disk: so that it brings it up again by itself, without MLflow, Prefect or anybody."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.serving.paths import serving_folder

#: Versions the host can go back to by its own record.
KEPT = 5


class ServedRecord:
    """The versions that took traffic here, the present one first, and those that would not start again.

    Args:
        project: whose.
    """

    def __init__(self, project: Project) -> None:
        self.path: Path = serving_folder(project) / "served.json"
        known = read_json(self.path) if self.path.is_file() else {}
        self.stack = [Deployment.of_row(row) for row in known.get("stack", [])]
        self.given_up: dict[str, str] = known.get("given_up", {})

    @property
    def wanted(self) -> Deployment | None:
        """What is to be served: the newest version that took traffic and has not been given up."""
        return next((one for one in self.stack if one.version not in self.given_up), None)

    @property
    def previous(self) -> Sequence[Deployment]:
        """What was served before it, the nearest first, without versions given up."""
        return [one for one in self.stack if one is not self.wanted and one.version not in self.given_up]

    def switched(self, deployment: Deployment) -> None:
        """Put a version that has taken over traffic on top.

        Going back takes off what is left behind, so that going back again goes further instead of to and fro.
        """
        below = next((place for place, one in enumerate(self.stack) if one.serves_as(deployment)), None)
        rest = self.stack if below is None else self.stack[below + 1 :]
        self.stack = [deployment, *rest][:KEPT]
        self.given_up.pop(deployment.version, None)
        self._write()

    def give_up(self, deployment: Deployment, reason: str) -> None:
        """Pass over a version that would not start, until somebody promotes it again."""
        self.given_up[deployment.version] = reason
        self._write()

    def _write(self) -> None:
        """Replace the file."""
        value: dict[str, Any] = {"stack": [one.row() for one in self.stack], "given_up": self.given_up}
        write_json(self.path, value)
