"""The environment a Prefect process of this project needs; set before prefect is imported."""

import os
import sys
from pathlib import Path

from flows.relay import keep_output
from tasks.core.errors import ConfigError
from tasks.core.project import QUIET, TELEMETRY_OFF, Project

#: What Prefect forgets or does not do unless it is asked to.
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_LEVEL": "INFO",
    # Leases of limits that somebody sets by hand live through a restart of the server.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # A run says that it lives; flows/silence.py has the server act where it does not.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    # So long a card may wait for the next run; Prefect's own 10 s are most of a short stage.
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # 2 + 4 + ... + 256 s: a server may be away for eight minutes when a run says that it has ended.
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    # What a server says whose database is away (500), or the proxy before it (504).
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
}


def prepare_environment(project: Project) -> None:
    """Point Prefect at the project's own laptop state unless the user runs a server; put our tools on PATH.

    With PREFECT_API_URL unset, Prefect starts a temporary server for the time of the run (see flows/server.py).
    """
    os.environ.update(TELEMETRY_OFF)
    os.environ.update(QUIET)
    # Nobody is there to type a password: git fails instead of waiting for one.
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")
    os.environ.setdefault("PREFECT_HOME", str(project.state / "prefect"))
    # Prefect makes the last folder of the path only, and its server dies without a word when that fails.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    for name, value in PREFECT.items():
        os.environ.setdefault(name, value)
    tools = str(Path(sys.executable).parent)
    if tools not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", "")])
    os.environ["TUNEGATE_ROOT"] = str(project.root)


def enter_checkout() -> dict[str, str]:
    """Go to the checkout a flow run belongs to and set its environment: the pull step of infra/prefect.yaml.

    A process worker starts every run in an empty folder. The checkout is $TUNEGATE_ROOT, or the one whose environment
    the worker was started from (the package is installed from it), so no deployment carries a machine's path.

    Raises:
        ConfigError: neither is a checkout.
    """
    root = os.environ.get("TUNEGATE_ROOT") or Path(__file__).resolve().parents[1]
    if not (Path(root) / "dvc.yaml").is_file():
        raise ConfigError(
            f"{root} is no Tunegate checkout", "export TUNEGATE_ROOT=<your clone> before starting the worker"
        )
    project = Project(Path(root).resolve())
    keep_output()
    prepare_environment(project)
    os.chdir(project.root)
    return {"directory": str(project.root)}
