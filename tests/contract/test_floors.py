"""The floors hold, and the check that says so sees an import that goes up, a ring of files, a room nobody placed."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def house(tmp_path):
    """A copy of the code to plant faults in."""
    for name in ("tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_floors_hold():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


#: Fault -> file, code that plants it, what the report must name.
PLANTED = {
    "up, inside a function": ("tasks/core/digest.py", "\ndef late():\n    import tasks.cli.main\n", "tasks.cli.main"),
    "up, to the flows": ("tasks/stages/runner.py", "\nfrom flows import pipeline\n", "flows.pipeline"),
    "between rooms of one floor": (
        "tasks/training/loss.py",
        "\nimport tasks.quantization.awq\n",
        "tasks.quantization.awq",
    ),
    "a ring of files": ("tasks/release/registry.py", "\nfrom tasks.release import champion\n", ".champion"),
    "a ring of folders": ("tasks/data/reading/lines.py", "\nimport tasks.data.passes.first\n", ".passes"),
}


def test_planted_faults_are_caught_and_named(house):
    """All in one copy: reading the imports takes longer than finding what is wrong with them."""
    for path, code, _ in PLANTED.values():
        (house / path).write_text((house / path).read_text("utf-8") + code, "utf-8")
    done = lint(house)
    assert done.returncode == 1
    report = done.stdout.partition("Broken contracts")[2]
    assert {fault for fault, (_, _, named) in PLANTED.items() if named not in report} == set()
    assert "Contracts: 0 kept, 3 broken." in done.stdout


def test_a_room_nobody_placed_is_caught(house):
    (house / "tasks" / "attic").mkdir()
    (house / "tasks" / "attic" / "__init__.py").write_text('"""New."""\n', "utf-8")
    done = lint(house)
    assert done.returncode == 1
    assert "attic" in done.stdout + done.stderr


def test_nothing_is_excepted():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    assert {contract["type"] for contract in contracts} == {"layers", "acyclic_siblings"}
    assert not any(key.startswith(("ignore", "skip", "unmatched")) for contract in contracts for key in contract)


@pytest.mark.parametrize("room", ["tasks", "flows"])
def test_a_module_named_in_a_text_is_there(room):
    """What is loaded by name (commands, stages, the host) no linter sees; a moved module would break it at night."""
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            module = node.value.partition(":")[0]
            if module.startswith(("tasks.", "flows.")) and module.replace(".", "").replace("_", "").isalpha():
                file = ROOT / module.replace(".", "/")
                assert file.is_dir() or file.with_suffix(".py").is_file(), f"{path}: {node.value}"


def test_the_picture_is_drawn_from_the_contract():
    spec = importlib.util.spec_from_file_location("draw_floors", ROOT / "docs" / "draw_floors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.draw() == (ROOT / "docs" / "floors.svg").read_text("utf-8"), "make docs"


def test_paths_in_the_architecture_page_exist():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    paths = re.findall(r"`((?:tasks|tests|infra|flows|docs)/[\w/.-]+)`", text)
    assert len(paths) > 20
    made = {"infra/environments/serve.installed"}
    assert {path for path in paths if not (ROOT / path).exists()} <= made
