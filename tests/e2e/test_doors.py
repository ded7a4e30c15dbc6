"""Three doors, one result: `tunegate stage`, `dvc repro` and a Prefect deployment write the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tasks.core.stage import STAGES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMPARED = ("prepare", "validate", "train", "merge", "quantize")
SMALL = {
    ("train", "max_steps"): 4,
    ("train", "checkpoint_every_steps"): 2,
    ("train", "batch_rows"): 2,
    ("train", "warmup_steps"): 1,
    ("quantize", "calibration_rows"): 4,
    ("quantize", "grid_points"): 2,
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


def test_a_prefect_deployment_run_writes_the_same_bytes(checkout, by_command, prefect):
    _forget(checkout.root)
    for name in COMPARED:
        prefect.run_deployment("stage/gpu", {"name": name})
    assert _manifests(checkout.root) == by_command


class PrefectServer:
    """A real server and one worker per pool, started from the clone."""

    def __init__(self, clone, port: int) -> None:
        self.clone, self.url = clone, f"http://127.0.0.1:{port}/api"
        self.environment = clone.environment | {
            "PREFECT_HOME": str(clone.root / ".tunegate" / "prefect"),
            "PREFECT_API_URL": self.url,
            "PATH": f"{clone.root}/.venv/bin:{os.environ['PATH']}",
        }
        self.port = port
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._spawn("server", "start", "--host", "127.0.0.1", "--port", str(self.port), without_url=True)
        self._wait_healthy()
        for pool in ("cpu", "gpu"):
            self.prefect("work-pool", "create", pool, "--type", "process", "--overwrite")
        self.prefect("--no-prompt", "deploy", "--prefect-file", "infra/prefect.yaml", "--all")
        self._spawn("worker", "start", "--pool", "gpu", "--type", "process")

    def prefect(self, *words: str) -> str:
        done = subprocess.run([".venv/bin/prefect", *words], cwd=self.clone.root, env=self.environment,
                              capture_output=True, text=True, timeout=900, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def run_deployment(self, name: str, parameters: dict[str, str]) -> None:
        arguments = [word for key, value in parameters.items() for word in ("--param", f"{key}={json.dumps(value)}")]
        self.prefect("deployment", "run", name, *arguments, "--watch", "--timeout", "900")

    def stop(self) -> None:
        for child in reversed(self.children):
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(timeout=60)

    def _spawn(self, *words: str, without_url: bool = False) -> None:
        environment = {name: value for name, value in self.environment.items()
                       if not (without_url and name == "PREFECT_API_URL")}  # fmt: skip
        log = (self.clone.root / f"prefect-{words[0]}.log").open("wb")
        self.children.append(
            subprocess.Popen([".venv/bin/prefect", *words], cwd=self.clone.root, env=environment, stdout=log,
                             stderr=log, start_new_session=True)
        )  # fmt: skip

    def _wait_healthy(self) -> None:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        pytest.fail((self.clone.root / "prefect-server.log").read_text()[-3000:])


@pytest.fixture(scope="module")
def prefect(checkout):
    server = PrefectServer(checkout, 4290)
    try:
        server.start()
        yield server
    finally:
        server.stop()
