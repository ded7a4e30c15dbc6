"""A promotion cancelled in Prefect: SIGTERM to the flow's process, as its runner sends it before it kills.

What is killed with signal 9, at every step, is in tests/contract/test_kill_matrix.py. A stand-in takes vLLM's place.
"""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from flows.environment import PREFECT
from tasks.core.project import TELEMETRY_OFF
from tasks.core.settings import load_settings
from tasks.release.history import read_history
from tasks.release.journal import Journal
from tasks.release.reconcile import promote, reconcile_once
from tasks.release.registry import Registry
from tasks.serving import control
from tests.contract.conftest import served
from tests.contract.hosts import register_version, until

pytestmark = pytest.mark.slow

#: What Prefect's runner leaves a flow before it kills it.
GRACE_S = 30
FLOW = """
import sys, time
from flows.release import promote
from tasks.release import reconcile
real = reconcile.append_event
def slow(*given, **named):
    print("recording", flush=True)
    time.sleep(600)
    real(*given, **named)
reconcile.append_event = slow
promote("2", reason="第二版", by="李审")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Version 1 live, version 2 registered; the second takes a while to start."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with served(tmp_path / "project") as found:
        settings = load_settings(found.root / "params.yaml")
        register_version(found, settings, "1")
        register_version(found, settings, "2", start_s=4)
        promote(found.project, settings, "1", by="王工", reason="首次")
        yield found


@pytest.fixture
def flow(project):
    """The flow `promote` of version 2 in a process of its own, with Prefect's temporary server."""
    command, environment = [sys.executable, "-c", FLOW], os.environ | TELEMETRY_OFF | PREFECT
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        # Prefect's temporary server, too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def cancelled(flow) -> int:
    """Cancel a flow as its runner does; return the code it ends with."""
    flow.send_signal(signal.SIGTERM)
    return flow.wait(GRACE_S)


def settled(project):
    """Look once as the reconciler does; return the registry after it."""
    settings = load_settings(project.root / "params.yaml")
    until(lambda: not control.host_status(project.project)["deploying"], timeout_s=30)
    reconcile_once(project.project, settings)
    assert reconcile_once(project.project, settings)["action"] == "none"
    assert Journal(project.project).read() is None
    return Registry(project.project, settings.register_.model_name)


def test_cancelled_while_its_version_starts_a_promotion_is_taken_back(project, flow):
    until(lambda: control.host_status(project.project)["deploying"] == "2", timeout_s=120)
    assert cancelled(flow) != 0
    registry = settled(project)
    status = control.host_status(project.project)
    assert (status["version"], status["healthy"], registry.champion().number) == ("1", True, "1")
    assert [event.version for event in read_history(registry)] == ["1"]
    assert "by 李审" in registry.version("2").tags["tunegate.deploy_failed"]


def test_cancelled_after_the_switch_a_promotion_is_finished_under_the_name_of_who_asked(project, flow):
    assert "recording" in flow.stdout.readline()
    assert cancelled(flow) != 0
    registry = settled(project)
    status = control.host_status(project.project)
    assert (status["version"], status["healthy"], registry.champion().number) == ("2", True, "2")
    assert [(event.version, event.by, event.reason) for event in read_history(registry)] == [
        ("1", "王工", "首次"), ("2", "李审", "第二版"),
    ]  # fmt: skip
