"""Real clients at pinned versions, each in an environment of its own, against the gateway: docs/clients.json.

The model behind is a stand-in that makes calls and forms; what vLLM makes of them is asked in the tests of vLLM.
TUNEGATE_CLIENTS names a folder that keeps the environments from one run to the next, TUNEGATE_MEASURED a file that gets
what was found (to become docs/clients.json).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine.abilities import Abilities
from tasks.serving import control

pytestmark = pytest.mark.slow

HERE = Path(__file__).with_name("clients")
PINS = json.loads((HERE / "pins.json").read_text(encoding="utf-8"))
MEASURED = json.loads((Path(__file__).parents[2] / "docs" / "clients.json").read_text(encoding="utf-8"))
UV = Path(sys.executable).with_name("uv")
ABLE = Abilities(tool_parser="hermes", thinking="never", why_no_tools="")


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> Path:
    kept = os.environ.get("TUNEGATE_CLIENTS")
    return Path(kept) if kept else tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def able(served_project, tmp_path_factory):
    caps = {"requests_per_minute": 100000, "max_completion_tokens": 64}
    with served_project(tmp_path_factory.mktemp("able") / "project", **caps) as project:
        control.ensure_host(project.project)
        project.deploy("1", abilities=ABLE)
        yield project


def made(name: str, folder: Path) -> list[str]:
    """Make a client's environment where it is not there yet; return the command that runs its script."""
    pins, script = PINS[name], HERE / PINS[name]["script"]
    if "npm" in pins:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "node_modules").is_dir():
            subprocess.run(["npm", "install", "--silent", *pins["npm"]], cwd=folder, check=True, timeout=300)
        shutil.copy(script, folder)
        return ["node", str(folder / script.name)]
    if not (folder / "bin" / "python").exists():
        subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=300)
        install = [UV, "pip", "install", "-q", "--python", folder / "bin" / "python"]
        subprocess.run([*install, *pins["pip"]], check=True, timeout=300)
    return [str(folder / "bin" / "python"), str(script)]


@pytest.mark.parametrize("name", PINS)
def test_every_feature_is_as_the_docs_say(name, able, environments):
    command = made(name, environments / name.replace(" ", "-"))
    key = able.key(f"client-{list(PINS).index(name)}")
    done = subprocess.run([*command, able.project.gateway_url, key], capture_output=True, text=True, check=False,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if measured := os.environ.get("TUNEGATE_MEASURED"):
        path = Path(measured)
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(known | {name: found}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert found == MEASURED.get(name)
