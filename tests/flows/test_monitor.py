"""The flow `monitor` on a real Prefect server and a real gateway: an alarm is an event, a failed run and a rollback."""

import os
import signal
import subprocess
import sys

import httpx
import pytest
import yaml

from flows.environment import PREFECT
from tasks.core.project import TELEMETRY_OFF
from tasks.core.settings import load_settings
from tasks.release.history import read_history
from tasks.release.reconcile import promote
from tasks.release.registry import Registry
from tasks.serving import control
from tests.contract.conftest import served
from tests.contract.hosts import register_version, until
from tests.flows.servers import PrefectServer

pytestmark = pytest.mark.slow

#: The asking is a stand-in: it needs real weights (tests/contract/test_live_vllm.py). All that follows it is real.
FLOW = """
from tasks.monitor import look
look.ask_released = lambda *given: {
    "version": "2", "model_lineage_id": "tg-2", "canary": {"failures": ["the capital of France"]},
    "agreement": {"findings": []}}
look._answers = lambda *given: {"rows": 0, "refusals": 0, "unknowns": 0, "released_refusals": 0, "released_unknowns": 0}
from flows.monitor import monitor
monitor()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Version 2 live, version 1 before it; alarms about the evidence go back by themselves."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    with served(tmp_path / "project") as found:
        params = yaml.safe_load((found.root / "params.yaml").read_text("utf-8"))
        params["monitor"]["rollback_on"] = ["released"]
        (found.root / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
        settings = load_settings(found.root / "params.yaml")
        for number in ("1", "2"):
            register_version(found, settings, number)
            promote(found.project, settings, number, by="王工", reason="上线")
        yield found


@pytest.fixture
def server(tmp_path):
    found = PrefectServer(tmp_path / "prefect").start()
    yield found
    found.kill(signal.SIGTERM)


def test_an_alarm_is_an_event_a_failed_run_and_the_version_before(project, server):
    environment = os.environ | TELEMETRY_OFF | PREFECT | {"PREFECT_HOME": str(server.home),
                                                          "PREFECT_API_URL": server.url}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", FLOW], env=environment, cwd=project.root, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode != 0
    assert "the capital of France" in done.stderr
    assert "went back to version 1" in done.stderr
    assert control.host_status(project.project)["version"] == "1"
    settings = load_settings(project.root / "params.yaml")
    registry = Registry(project.project, settings.register_.model_name)
    assert registry.champion().number == "1"
    last = read_history(registry)[-1]
    assert (last.by, "the capital of France" in last.reason) == ("tunegate monitor", True)
    until(lambda: events(server), timeout_s=30)
    (event,) = events(server)
    assert event["resource"]["prefect.resource.id"] == "tunegate.version.tg-2"
    assert event["payload"]["kind"] == "released"


def events(server) -> list[dict]:
    wanted = {"filter": {"event": {"name": ["tunegate.alarm"]}}}
    return httpx.post(f"{server.url}/events/filter", json=wanted).json()["events"]
