"""The way to the host process from everywhere else: status, deploy, stop, and starting it when it does not run."""

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError, TunegateError
from tasks.core.files import read_json
from tasks.core.keeper import alive
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.serving.control_access import GROUP_VARIABLE
from tasks.serving.paths import control_socket, host_log, rollout_path
from tasks.serving.record import ServedRecord

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 15.0
#: How long a host that hangs up is taken to be ending.
ENDING_S = 3.0
#: A start that is ended first ends its server.
ABORT_TIMEOUT_S = 60.0
#: The host drains and stops two servers; the command that asked waits this much longer than the drain itself.
STOP_MARGIN_S = 60.0
POLL_S = 0.1
#: What a host of an older release does not say of itself, and how it answers what it does not know.
OLDER_HOST: dict[str, Any] = {"wanted": None, "recovering": False, "given_up": {}, "previous": [],
                              "rollout": None, "upstream": None}  # fmt: skip
NOT_KNOWN = 404
REFUSED = 403
_started: "list[subprocess.Popen[bytes]]" = []
_ERRORS: dict[str, type[TunegateError]] = {
    kind.__name__: kind for kind in (ConfigError, DataContractError, MissingToolError, TransientError)
}
_BY_EXIT_CODE = {kind.exit_code: kind for kind in _ERRORS.values()}


def host_status(project: Project) -> dict[str, Any] | None:
    """Return what the host serves, or None when no host runs.

    Returns:
        {"url", "slot", "version", "lineage_id", "healthy", "host_pid", "in_flight", "audit_healthy"; "deploying": the
        version being started, "wanted": what the host keeps up, "recovering": whether it is bringing that up itself,
        "given_up": {version: why}, "previous": deployments it can go back to, nearest first; "rollout": what is being
        tried, as in rollout.json, None for nothing; "upstream": the URL of a model server that is not ours}.

    Raises:
        TransientError: a host runs but does not answer.
        ConfigError: it takes no orders from this account.
    """
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            with _Connection(control_socket(project), STATUS_TIMEOUT_S) as connection:
                value: dict[str, Any] = json.loads(connection.ask("GET", "/status").read())
                # A host that was started by an older release goes on serving through an update.
                return OLDER_HOST | value | {"deploying": value["deploying"] or None}
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A host that is ending hangs up on who asks, and is gone a moment later.
            if not isinstance(error, ConnectionResetError) or time.monotonic() > deadline:
                message = f"the serving host does not answer: {error}"
                raise TransientError(message, f"read {host_log(project)}") from error
        time.sleep(POLL_S)


def deploy(project: Project, deployment: Deployment, *, on_progress: Callable[[str], None] = log.info) -> None:
    """Serve a version: start it in the idle slot, smoke-test it, switch. Returns when that is done.

    A caller that ends before the switch ends the start; after the switch it stands.

    Args:
        project: whose host.
        deployment: what to serve; the smoke test holds the slot to its fingerprint.
        on_progress: gets a line per step.

    Raises:
        DataContractError: the weights are not as registered, unsafe, failed the smoke test, or answer otherwise than
            the evidence says.
        MissingToolError: no serving environment, no compiler, or the slot's port is taken.
        TransientError: the server did not come up, no host runs, or another deployment is under way.
            In every case the old slot goes on serving.
    """
    _ask_slots(project, "/deploy", deployment, on_progress)


def rehearse(project: Project, deployment: Deployment, *, on_progress: Callable[[str], None] = log.info) -> float:
    """Start a version in the idle slot, ask it its smoke prompts, stop it again; return the seconds that took.

    Raises:
        TunegateError: as `deploy`; what is live is not touched in any case.
    """
    started = time.monotonic()
    _ask_slots(project, "/rehearse", deployment, on_progress)
    return time.monotonic() - started


def begin_rollout(
    project: Project, deployment: Deployment, strategy: str, *, on_progress: Callable[[str], None] = log.info
) -> None:
    """Start a version beside the live one and give it its first share; returns when it has it.

    A caller that ends before that ends the start; after it the rollout goes on in the host.

    Args:
        strategy: `canary` or `shadow`.

    Raises:
        TunegateError: as `deploy`; also TransientError where nothing healthy is live or a rollout is under way.
    """
    _ask_slots(project, f"/rollout/{strategy}", deployment, on_progress)


def end_rollout(project: Project, end: str, why: str) -> bool:
    """End the rollout under way by hand; return whether there was one.

    Args:
        end: `abort` (the candidate is taken back) or `promote` (it gets all of the traffic, whatever the tests say).
        why: kept with its evidence.

    Raises:
        TransientError: the host does not answer, or the candidate could not go live.
    """
    try:
        with _Connection(control_socket(project), None) as connection:
            value = json.loads(connection.ask("POST", f"/rollout/{end}", {"why": why}).read())
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"the serving host does not answer: {error}", f"read {host_log(project)}") from error
    if "error" in value:
        raise _error(value["error"])
    return bool(value["done"])


def last_rollout(project: Project) -> dict[str, Any] | None:
    """Return the state of the rollout under way, or of the last one, with its evidence; None where there was none."""
    path = rollout_path(project)
    return read_json(path) if path.is_file() else None


def recorded_version(project: Project) -> str | None:
    """Return the version that the host wrote down as the one to keep up, whether it runs or not."""
    wanted = ServedRecord(project).wanted
    return wanted.version if wanted else None


def abort_deployment(project: Project) -> bool:
    """End what is being started, whoever asked for it, and return whether anything was; what serves goes on.

    Raises:
        TransientError: a host runs but does not answer.
    """
    try:
        with _Connection(control_socket(project), ABORT_TIMEOUT_S) as connection:
            answer = connection.ask("POST", "/abort")
            return answer.status != NOT_KNOWN and bool(json.loads(answer.read())["aborted"])
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"the serving host does not answer: {error}", f"read {host_log(project)}") from error


def _ask_slots(project: Project, path: str, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
    """Ask the host for a change of its slots and follow it to its end."""
    try:
        with _Connection(control_socket(project), None) as connection:
            for line in connection.ask("POST", path, deployment.row()):
                event = json.loads(line)
                if "progress" in event:
                    on_progress(event["progress"])
                elif "error" in event:
                    raise _error(event["error"])
                elif "live" in event:
                    return
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"the serving host was lost: {error}", f"read {host_log(project)}") from error
    raise TransientError("the serving host ended during the deployment", f"read {host_log(project)}")


def stop_host(project: Project) -> bool:
    """Stop the host and wait until it is gone; return whether one ran.

    Raises:
        TransientError: it does not end.
    """
    status = host_status(project)
    if status is None:
        return False
    with suppress(ConnectionError, FileNotFoundError, http.client.HTTPException), _Connection(
        control_socket(project), STATUS_TIMEOUT_S
    ) as connection:  # fmt: skip
        connection.ask("POST", "/stop")
    deadline = time.monotonic() + status["drain_timeout_s"] + STOP_MARGIN_S
    while alive(status["host_pid"]):
        if time.monotonic() > deadline:
            raise TransientError(f"host process {status['host_pid']} does not end", f"kill {status['host_pid']}")
        time.sleep(POLL_S)
    for process in _started:
        process.poll()
    return True


def ensure_host(project: Project) -> bool:
    """Have a host running, apart from this process; return True when this call started it.

    Raises:
        MissingToolError: the gateway's port is taken.
        TransientError: it did not start.
    """
    if host_status(project) is not None:
        return False
    path = host_log(project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    start = path.stat().st_size if path.exists() else 0
    with path.open("ab") as output:
        process = subprocess.Popen(
            host_command(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=host_environment(project), cwd=project.root, start_new_session=True,
        )  # fmt: skip
    # Kept, so that a host that ends before this process does is collected.
    _started[:] = [*(earlier for earlier in _started if earlier.poll() is None), process]
    return wait_for_host(project, process, lambda: path.read_bytes()[start:].decode("utf-8", "replace"))


def host_command() -> list[str]:
    """Return the command line of the host."""
    return [sys.executable, "-m", "tasks.serving.host"]


def host_environment(project: Project) -> dict[str, str]:
    """Return the environment of the host: this one, bound to this project."""
    return {**os.environ, "TUNEGATE_ROOT": str(project.root), "PYTHONUNBUFFERED": "1"}


def wait_for_host(project: Project, process: "subprocess.Popen[bytes]", output: Callable[[], str]) -> bool:
    """Wait until a started host answers; return False where another one was faster, or it was stopped again already.

    Args:
        output: gives what the process has printed, for the message when it ends early.

    Raises:
        TunegateError: of the kind the host ended with.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while (status := host_status(project)) is None:
        if (code := process.poll()) is not None:
            if code == 0 or host_status(project) is not None:
                return False
            raise _ended(code, output(), project)
        if time.monotonic() > deadline:
            process.terminate()
            raise TransientError(f"the serving host did not start in {duration(START_TIMEOUT_S)}",
                                 f"read {host_log(project)}")  # fmt: skip
        time.sleep(POLL_S)
    log.info("serving host: process %d, gateway at %s", status["host_pid"], status["url"])
    return True


def _ended(code: int, output: str, project: Project) -> TunegateError:
    """Return the error a host ended with, as it printed it."""
    message, _, hint = output.rpartition("error: ")[2].strip().partition("\n  next: ")
    kind = _BY_EXIT_CODE.get(code, TransientError)
    return kind(message or f"the serving host ended with code {code}", hint or f"read {host_log(project)}")


def _error(value: dict[str, str]) -> TunegateError:
    """Return an error of the host as one of ours."""
    return _ERRORS.get(value["kind"], TransientError)(value["message"], value["hint"])


def _not_for_us(path: Path) -> ConfigError:
    """Return the error for an account that the host takes no orders from."""
    return ConfigError(
        f"account {os.geteuid()} may not ask the serving host ({path})",
        f"ask as its account or a member of its {GROUP_VARIABLE}; a pipeline asks a deployment of pool release",
    )


class _Connection(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("tunegate", timeout=timeout_s)
        self.path = path

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Open the socket by its folder's handle: a socket's path may have 107 bytes only, a project's is longer.

        Raises:
            ConfigError: this account may not ask the host.
        """
        try:
            # A path alone: members of the control group may pass through the folder, not list it.
            folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
        except PermissionError as error:
            raise _not_for_us(self.path) from error
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        except PermissionError as error:
            raise _not_for_us(self.path) from error
        finally:
            os.close(folder)

    def ask(self, method: str, path: str, value: Any = None) -> http.client.HTTPResponse:
        """Send a request and return the answer, unread.

        Raises:
            ConfigError: the host does not answer this account.
        """
        body = None if value is None else json.dumps(value).encode()
        self.request(method, path, body=body, headers={"Content-Type": "application/json"})
        answer = self.getresponse()
        if answer.status == REFUSED:
            raise _not_for_us(self.path)
        return answer
