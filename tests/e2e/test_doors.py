"""Three doors, one result: `tunegate stage`, `dvc repro` and a Prefect deployment write the same bytes."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.machine.network import answer_of
from tasks.models.base import materialize
from tasks.stages.table import STAGES
from tests.small_models import write_small_llama

pytestmark = [pytest.mark.slow, pytest.mark.alone]
ROOT = Path(__file__).parents[2]
COMPARED = ("prepare", "validate", "train", "merge", "quantize")
SMALL = {
    ("train", "max_steps"): 4,
    ("train", "checkpoint_every_steps"): 2,
    ("train", "batch_rows"): 2,
    ("train", "warmup_steps"): 1,
    ("quantize", "calibration_rows"): 4,
    ("quantize", "heldout_rows"): 4,
    ("quantize", "grid_points"): 3,
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, make_clone):
    """A clone with a short training that borrows this checkout's environments."""
    clone = make_clone(tmp_path_factory.mktemp("doors") / "tunegate")
    for name in (".venv", ".venv-serve"):
        (clone.root / name).symlink_to(ROOT / name)
    path = clone.root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for (section, key), value in SMALL.items():
        params[section][key] = value
    # A door is no other for a larger model.
    base = tmp_path_factory.mktemp("base") / "small"
    write_small_llama(base, materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path)
    params["base_model"] |= {"source": "local", "id": str(base), "revision": None, "digest": None}
    path.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    return clone


def _manifests(root: Path) -> dict[str, bytes]:
    return {
        stage.name: (root / stage.output / "manifest.json").read_bytes() for stage in STAGES if stage.name in COMPARED
    }


def _forget(root: Path) -> None:
    """Remove outputs and every cache that could hand them back; the converted base model stays."""
    for path in ("data/prepared", "data/models", "data/reports", ".dvc/cache", ".tunegate/scratch", "dvc.lock"):
        target = root / path
        target.unlink() if target.is_file() else shutil.rmtree(target, ignore_errors=True)


@pytest.fixture(scope="module")
def by_command(checkout) -> dict[str, bytes]:
    for name in COMPARED:
        checkout.tunegate("stage", name)
    return _manifests(checkout.root)


def test_dvc_repro_writes_the_same_bytes(checkout, by_command):
    _forget(checkout.root)
    checkout.run(".venv/bin/dvc", "repro", "quantize")
    assert _manifests(checkout.root) == by_command
    assert "up to date" in checkout.run(".venv/bin/dvc", "repro", "quantize").stdout


def test_a_prefect_deployment_run_writes_the_same_bytes(checkout, by_command, workers):
    _forget(checkout.root)
    for name in COMPARED:
        trigger = ["-m", "flows.trigger", "stage/gpu", "--param", f"name={name}", "--wait"]
        done = subprocess.run(
            [f"{checkout.root}/.venv/bin/python", *trigger],
            cwd=checkout.root, env=workers, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
    assert _manifests(checkout.root) == by_command


@pytest.fixture(scope="module")
def workers(checkout, running, until):
    """A Prefect server and `make workers`, started in the clone; gives the environment that reaches them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    (checkout.root / ".tunegate" / "prefect").mkdir(parents=True, exist_ok=True)
    # The environments are borrowed, so the worker must be told whose checkout it works in.
    places = {"PREFECT_HOME": checkout.root / ".tunegate" / "prefect", "TUNEGATE_ROOT": checkout.root}
    environment = checkout.environment | {name: str(place) for name, place in places.items()}
    tools = checkout.root / ".venv" / "bin"
    server = [f"{tools}/prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(server, checkout.root, "prefect-server", environment) as log:
        until(lambda: answer_of(f"{url}/health") == 200, log)
        environment["PREFECT_API_URL"] = url
        with running([f"{tools}/python", "-m", "flows.workers"], checkout.root, "workers", environment) as log:
            until(lambda: log.read_text().count("Worker '") >= 2, log)
            yield environment
