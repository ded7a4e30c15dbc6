"""Programs and environments: Python, git, g++, the two locked environments."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from tasks.core.project import Project
from tasks.engine.environment import load_bootstrap
from tasks.machine.check import Check

LEAST_PYTHON = (3, 11)
VERSION_TIMEOUT_S = 5.0


def check_tools() -> list[Check]:
    """Check the programs every profile needs."""
    return [
        _python(),
        _program("git", "git --version", "DVC and the lineage need it"),
        _program("g++", "g++ --version", "torch and vLLM compile kernels at run time"),
    ]


def check_environments(project: Project) -> list[Check]:
    """Check that both environments were finished from the locks as they are now."""
    bootstrap = load_bootstrap(project)
    checks = [_environment("pipeline", project, bootstrap)]
    if os.environ.get("TUNEGATE_SERVE_PYTHON"):
        return [*checks, _given_environment(project.serve_python)]
    return [*checks, _environment("serve", project, bootstrap)]


def _python() -> Check:
    """Check the interpreter that runs this."""
    needed = ".".join(map(str, LEAST_PYTHON))
    fits = sys.version_info[:2] >= LEAST_PYTHON
    todo = "" if fits else f"install Python {needed} or later, then make PYTHON=python{needed} setup"
    return Check("Python", "ok" if fits else "failed", platform.python_version(), f"{needed} or later", todo)


def _program(name: str, command: str, why: str) -> Check:
    """Check that a program is on the PATH and starts."""
    needed = f"any ({why})"
    todo = f"install {name}; on Debian or Ubuntu: apt-get install {name}"
    if shutil.which(name) is None:
        return Check(name, "failed", "not on the PATH", needed, todo)
    try:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=VERSION_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, "failed", f"does not start: {error}", needed, todo)
    return Check(name, "ok", done.stdout.partition("\n")[0].strip(), needed)


def _environment(name: str, project: Project, bootstrap: ModuleType) -> Check:
    """Check one environment against its lock."""
    folder = project.root / bootstrap.FOLDERS[name]
    title, needed = f"environment {name}", f"{folder.name} as in its lock"
    gpu = bootstrap.has_gpu()
    lock = bootstrap.lock_of(name, gpu)
    if not (folder / "bin" / "python").exists():
        return Check(title, "failed", "absent", needed, "make setup")
    stamp = folder / bootstrap.STAMP
    if not stamp.is_file():
        return Check(title, "failed", "never finished", needed, "make setup")
    try:
        recorded = json.loads(stamp.read_text(encoding="utf-8"))
    except ValueError:
        return Check(title, "failed", f"{stamp.name} is damaged", needed, "make setup")
    wanted = bootstrap.stamp_of(name, gpu)
    changed = sorted(key for key in wanted if recorded.get(key) != wanted[key])
    if changed:
        return Check(title, "failed", f"made with another {', '.join(changed)}", needed, "make setup")
    return Check(title, "ok", f"{lock.name}, torch {wanted['torch']} ({wanted['accelerator']})", needed)


def _given_environment(python: Path) -> Check:
    """Check a serving interpreter that the user has chosen."""
    needed, name = "a Python that has vllm", "environment serve"
    if not os.access(python, os.X_OK):
        todo = "correct TUNEGATE_SERVE_PYTHON, or unset it and make setup"
        return Check(name, "failed", f"{python} is no program", needed, todo)
    return Check(name, "ok", f"{python} (TUNEGATE_SERVE_PYTHON; not held to the lock)", needed)
