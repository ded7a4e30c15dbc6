"""`tunegate serve | gateway | stop`."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module

import click

from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.serving.stopped import lift_stop, record_stop, stopped

log = logging.getLogger(__name__)

#: What the host may need beyond the drain time to end its two servers.
STOP_MARGIN_S = 30.0
POLL_S = 0.5
#: A host that was killed is started again after these waits.
RESTARTS_AFTER_S = (1.0, 2.0, 5.0, 15.0, 60.0)
#: One that answered this long had started well: what ends it then is a new trouble, and the waits begin anew.
HEALTHY_AFTER_S = 300.0
#: Stopped on purpose, or ended by what a new start would meet again: settings, data, a missing tool or port.
FINAL_CODES = frozenset({0, ConfigError.exit_code, DataContractError.exit_code, MissingToolError.exit_code})


@click.command()
def serve() -> None:
    """Bring the champion and the gateway up and stay; Ctrl-C stops both.

    Every serve.reconcile_every_s seconds what is served is compared with the alias `champion` in MLflow: moving the
    alias is enough to change what is live.
    """
    from tasks.serving import control

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    if (status := control.host_status(project)) is not None:
        raise ConfigError(
            f"this project is served already: process {status['host_pid']} at {status['url']}",
            "tunegate status, or tunegate stop",
        )
    lift_stop(project)
    # Ctrl-C as a service manager or a container says it; as process 1 it would be ignored without a handler.
    signal.signal(signal.SIGTERM, _ended)
    try:
        _keep_serving(project, settings)
    except _EndedFromOutsideError:
        click.echo("ended; requests under way were let finish", err=True)
    except KeyboardInterrupt:
        _record_stop(project)
        click.echo("stopped; requests under way were let finish", err=True)


@click.command()
def gateway() -> None:
    """Run one of several gateways: it serves what `tunegate serve` elsewhere has live, and shares its limits.

    Asks neither MLflow nor Prefect and starts no model. Needs TUNEGATE_UPSTREAMS (where the models are) and
    TUNEGATE_LIMITS_URL (the Redis or Valkey server that the gateways share); TUNEGATE_KEYS_FILE is their file of keys.
    Whatever started it (Kubernetes, compose, systemd) starts it again.
    """
    from tasks.serving import control
    from tasks.serving.replica import LIMITS_VARIABLE
    from tasks.serving.shared.store import FOLLOWS_VARIABLE
    from tasks.serving.upstream.addresses import UPSTREAMS_VARIABLE

    project = Project.here()
    for variable in (UPSTREAMS_VARIABLE, LIMITS_VARIABLE):
        if not os.environ.get(variable):
            raise ConfigError(
                f"{variable} is not set", f"export {variable}=..., or tunegate serve for one gateway alone"
            )
    command = control.host_command()
    os.execve(command[0], command, control.host_environment(project) | {FOLLOWS_VARIABLE: "1"})


@click.command()
def stop() -> None:
    """Stop the gateway and its slots; requests under way may finish. No schedule starts them again."""
    from tasks.serving import control

    project = Project.here()
    _record_stop(project)
    click.echo("stopped" if control.stop_host(project) else "nothing was running")


class _EndedFromOutsideError(KeyboardInterrupt):
    """SIGTERM: a service manager or a reboot, not a person who wants nothing served."""


def _ended(*_: object) -> None:
    """End as Ctrl-C does."""
    raise _EndedFromOutsideError


def _record_stop(project: Project) -> None:
    """Write down who stopped serving, so that no schedule starts it again."""
    from tasks.release.history import requester

    record_stop(project, requester())


def _start_host(project: Project, settings: Settings) -> "subprocess.Popen[bytes]":
    """Start the host so that it dies with this process; it is a process of its own, so that MLflow slows no answer."""
    from tasks.core.keeper import held
    from tasks.serving import control

    grace_s = settings.serve.gateway.drain_timeout_s + STOP_MARGIN_S
    command = held(control.host_command(), grace_s)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, env=control.host_environment(project), cwd=project.root, start_new_session=True
    )


def _welcome(project: Project) -> str:
    """Return what a person needs to know next."""
    url = project.gateway_url
    question = '{"model": "champion", "messages": [{"role": "user", "content": "碘片什么时候服用？"}]}'
    return (
        f"\ngateway   {url}   (OpenAI API: {url}/v1)\n"
        f"a key     tunegate keys create NAME\n"
        f"ask       curl {url}/v1/chat/completions -H 'Authorization: Bearer tg_...' \\\n"
        f"            -H 'Content-Type: application/json' -d '{question}'\n"
        f"stop      Ctrl-C here, or tunegate stop\n"
    )


def _keep_serving(project: Project, settings: Settings) -> None:
    """Keep a host running until it is asked to stop: one that was killed is started again, ever more slowly.

    Raises:
        TunegateError: of the kind the host ended with, where starting it again would change nothing.
    """
    waits = iter(RESTARTS_AFTER_S)
    code, lived_s = _one_host(project, settings, first=True)
    while code not in FINAL_CODES:
        if lived_s >= HEALTHY_AFTER_S:
            waits = iter(RESTARTS_AFTER_S)
        if (wait_s := next(waits, None)) is None:
            raise TransientError("the serving host ended again and again", "its last lines are above; tunegate serve")
        log.error("the serving host ended with code %d; it is started again in %s and brings up what it served",
                  code, duration(wait_s))  # fmt: skip
        time.sleep(wait_s)
        if stopped(project):
            return
        code, lived_s = _one_host(project, settings, first=False)


def _one_host(project: Project, settings: Settings, *, first: bool) -> tuple[int, float]:
    """Run one host to its end; return its exit code, and for how many seconds it answered.

    Raises:
        TunegateError: it does not start, for a reason that the next one would meet again, or it is the first.
    """
    from tasks.serving import control

    with _host(project, settings) as keeper:
        try:
            control.wait_for_host(project, keeper, lambda: "")
        except TransientError as error:
            if first:
                raise
            log.error("%s", error)
            return TransientError.exit_code, 0.0
        if first:
            click.echo(_welcome(project), err=True)
        answered = time.monotonic()
        _reconcile_forever(project, settings, keeper)
        return keeper.wait(), time.monotonic() - answered


@contextmanager
def _host(project: Project, settings: Settings) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a host for the body of the `with`; then let it finish the requests under way."""
    keeper = _start_host(project, settings)
    try:
        yield keeper
    except KeyboardInterrupt:
        click.echo("stopping: requests under way may finish", err=True)
        # A second signal must not cut what the first one lets finish.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
    finally:
        if keeper.stdin:
            keeper.stdin.close()
        keeper.wait()


def _reconcile_forever(project: Project, settings: Settings, keeper: "subprocess.Popen[bytes]") -> None:
    """Make serving match the alias again and again, until the host ends."""
    reconcile_once = import_module("tasks.release.reconcile").reconcile_once
    listening = import_module("tasks.release.webhook").listening
    told = ""
    wake = threading.Event()
    with ThreadPoolExecutor(1) as pool, listening(wake) as address:
        if address:
            log.info("registry webhooks are taken at %s", address)
        while keeper.poll() is None:
            wake.clear()
            # A lost MLflow or a refused version must not take down what serves: say so once and go on.
            future = pool.submit(reconcile_once, project, settings)
            error = future.exception()
            line = _problem(error) if error else _outcome(future.result())
            if line != told:
                log.log(logging.WARNING if error else logging.INFO, "%s", line)
                told = line
            _sleep(settings.serve.reconcile_every_s, keeper, wake)


def _outcome(outcome: dict[str, str]) -> str:
    """Return what a comparison led to as one line."""
    return f"reconcile: {outcome['action']}, version {outcome['version']}: {outcome['reason']}"


def _problem(error: BaseException) -> str:
    """Return what went wrong as one line."""
    return f"reconcile: {type(error).__name__}: {error}"


def _sleep(seconds: float, keeper: "subprocess.Popen[bytes]", wake: threading.Event) -> None:
    """Wait, or return early when the host ends or a webhook comes."""
    log.debug("reconcile: again in %s", duration(seconds))
    deadline = time.monotonic() + seconds
    while keeper.poll() is None and (left := deadline - time.monotonic()) > 0:
        if wake.wait(min(POLL_S, left)):
            return
