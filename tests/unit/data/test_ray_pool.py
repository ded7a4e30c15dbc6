"""Chunks on Ray: the real Ray of a package registry, in an environment of its own beside the project's."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, MissingToolError
from tasks.data.pool import ENGINE, ordered
from tests.unit.data.test_pool import Doubled

ROOT = Path(__file__).parents[3]
RAY = "ray[data]==2.60.0"
SCRIPT = """
from tasks.core.errors import DataContractError
from tasks.data.pool import ordered
from tests.unit.data.test_pool import Doubled
from tasks.data import ray_pool

ray_pool.WINDOW, read = 25, []
numbers = (read.append(number) or number for number in range(40))
results = ordered(Doubled, (-1, ""), numbers, 2)
assert next(results) == 0 and len(read) == 25, len(read)
assert [0, *results] == [2 * number for number in range(40)]
try:
    list(ordered(Doubled, (7, "refuse"), range(10), 2))
except DataContractError as error:
    print(error.message, error.hint)
"""
KILLED = """
from tasks.core.errors import TransientError
from tasks.data.pool import ordered
from tests.unit.data.test_pool import Doubled

try:
    list(ordered(Doubled, (7, "die"), range(10), 2))
except TransientError as error:
    print(error.message)
"""


def test_an_engine_that_is_none_and_one_that_is_not_installed_are_refused(monkeypatch):
    monkeypatch.setenv(ENGINE, "spark")
    with pytest.raises(ConfigError, match="none of local, ray"):
        list(ordered(Doubled, (-1, ""), range(4), 2))
    monkeypatch.setenv(ENGINE, "ray")
    with pytest.raises(MissingToolError, match="Ray is not installed"):
        list(ordered(Doubled, (-1, ""), range(4), 2))
    assert list(ordered(Doubled, (-1, ""), range(4), 1)) == [0, 2, 4, 6], "one process needs no engine"


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An interpreter that has Ray, and after it what this one has."""
    folder = tmp_path_factory.mktemp("ray") / "venv"
    uv, found = Path(sys.executable).with_name("uv"), folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "-q", "--python", found, RAY], check=True, timeout=400)
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(site) / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture
def on_ray(python, monkeypatch):
    """Run words in that interpreter, with Ray as the engine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def run(*words: str) -> str:
        environment = os.environ | {ENGINE: "ray", "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}
        done = subprocess.run(
            [python, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


@pytest.mark.net
def test_the_order_is_kept_little_is_read_ahead_and_a_refusal_keeps_its_words(on_ray):
    assert on_ray("-c", SCRIPT).splitlines()[-1] == "第 7 行坏了 mend it"


@pytest.mark.net
def test_an_item_that_kills_its_actor_ends_the_work_and_not_never(on_ray):
    assert "Ray lost a part of the work" in on_ray("-c", KILLED)


@pytest.mark.slow
def test_prepare_on_ray_writes_the_same_bytes(on_ray):
    plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib")
    said = on_ray(*plain, "-k", "neither and 300-2", "tests/unit/data/test_prepare.py")
    assert "1 passed" in said
