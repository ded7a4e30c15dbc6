"""A fresh clone in an empty folder, set up and run as a newcomer would."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Ports of our own, so that a gateway the developer has running is left alone.
PORTS = {"TUNEGATE_GATEWAY_PORT": "8280", "TUNEGATE_SLOT_PORT": "8281", "TUNEGATE_EVALUATION_PORT": "8283"}


class Clone:
    """A checkout in an empty folder and the commands a person types there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        drop = {"TUNEGATE_ROOT", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "VIRTUAL_ENV", "PYTHONPATH"}
        self.environment = {name: value for name, value in os.environ.items() if name not in drop} | PORTS

    def run(self, *command: str, timeout_s: float = 1800, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} exited {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def tunegate(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return self.run(".venv/bin/tunegate", *words, **options)


def _make_clone(folder: Path) -> Clone:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return Clone(folder)


@pytest.fixture(scope="session")
def make_clone():
    """Clone this checkout's committed state into a folder."""
    return _make_clone


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Clone:
    """The committed state of this checkout, cloned; nothing is shared with it."""
    return _make_clone(tmp_path_factory.mktemp("newcomer") / "tunegate")
