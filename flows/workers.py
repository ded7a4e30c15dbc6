"""`make workers`: have the pools and deployments, end what nobody executes, run one worker a pool until Ctrl-C."""

import logging
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from flows.environment import prepare_environment
from flows.processes import CannotTellError, workers_here
from flows.scope import scoped, scoped_deployment
from flows.server import require_server
from tasks.core.errors import ConfigError, MissingToolError, TransientError
from tasks.core.guard import guarded
from tasks.core.keeper import held
from tasks.core.logs import setup_logging
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings

log = logging.getLogger(__name__)

#: The pool that promotes: on several accounts its worker alone has the credential for that, and the host's socket.
RELEASE = "release"
#: pool -> how many runs a worker of it takes at once: stages that need the GPU one by one (a machine with cards for
#: several has a worker for each); a pipeline that waits for such a stage must not keep another from running.
POOLS: dict[str, int | None] = {"cpu": None, "gpu": 1, RELEASE: None}
GPU = "gpu"
#: Workers of the gpu pool on one machine.
MOST_WORKERS = 16
#: How long a worker may take to end its runs before it is killed.
STOP_GRACE_S = 30.0
POLL_S = 0.5
SWEEP_EVERY_S = 60.0
#: A worker that ended by itself is started again after these waits; one that ran for so long begins anew with them.
RESTARTS_AFTER_S = (1.0, 5.0, 15.0, 60.0)
SETTLED_S = 600.0
SERVER_POLL_S = 5.0
#: A worker heard of since is not told from one that has just ended but by listening for its next heartbeats.
HEARD = timedelta(seconds=25)
LISTEN_S = 13.0


@click.command()
@click.option("--deploy-only", is_flag=True, help="Create the pools and deploy, start no worker.")
@click.option("--take-over", is_flag=True, help="The deployments there are of a checkout that is gone: have them.")
@click.option("--pool", "pools", multiple=True, type=click.Choice(list(POOLS)), help="Only a worker of this pool.")
def main(deploy_only: bool, take_over: bool, pools: tuple[str, ...]) -> None:
    """Create the work pools cpu, gpu and release, deploy infra/prefect.yaml, and run one process worker for each pool.

    Needs a running server: make prefect-ui, or PREFECT_API_URL.
    """
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    prepare_environment(project)
    require_server()
    from flows.trigger import reachable

    with reachable():
        deployments = deploy_all(project, settings, take_over=take_over)
        if not deploy_only:
            refuse_twins(list(pools or POOLS))
            sweep_now(list(pools or POOLS), deployments, settled=timedelta(0))
    if not deploy_only:
        run_workers(project, _asked(list(pools or POOLS), settings), deployments)


def deploy_all(project: Project, settings: Settings, *, take_over: bool = False) -> list[Any]:
    """Have all pools, every deployment of infra/prefect.yaml and the watch over their runs; return the deployments.

    Raises:
        MissingToolError: Prefect refuses; its own words are quoted.
    """
    from prefect.client.orchestration import get_client

    from flows.deployments import deploy
    from flows.notices import have_notices
    from flows.silence import watch_for_silence

    with get_client(sync_client=True) as client:
        for pool in map(scoped, POOLS):
            if not _has_pool(client, pool):
                _ask_prefect(project, "work-pool", "create", pool, "--type", "process")
                log.info("work pool %s: created", pool)
        deployments = deploy(project, settings, take_over=take_over)
        watch_for_silence(client, deployments)
        have_notices(client, deployments, list(POOLS))
    return deployments


def _has_pool(client: Any, name: str) -> bool:
    """Return whether the server has a work pool."""
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        return False
    return True


def refuse_twins(pools: list[str]) -> None:
    """Refuse to start beside a worker of the same name: each would take the other's runs for its own.

    Raises:
        ConfigError: one runs on this machine, or on another of the same host name.
    """
    from prefect.client.orchestration import get_client

    for name in map(worker_name, pools):
        try:
            here = " ".join(map(str, workers_here(name, os.environ["PREFECT_API_URL"])))
        except CannotTellError as error:
            log.warning("worker %s: %s", name, error)
            continue
        if here:
            raise ConfigError(f"a worker {name} runs already: process {here}", f"end its make workers, or kill {here}")
    with get_client(sync_client=True) as client:
        heard = {pool: _last_heard(client, pool) for pool in pools}
        recent = {pool: when for pool, when in heard.items() if when and datetime.now(UTC) - when < HEARD}
        if not recent:
            return
        log.info("a worker of this name was heard of a moment ago; listening %.0f s whether it still lives", LISTEN_S)
        _listen()
        for pool, when in recent.items():
            if _last_heard(client, pool) != when:
                raise ConfigError(
                    f"a worker {worker_name(pool)} runs on another machine of this name",
                    "give one of the two machines another host name",
                )


def _listen() -> None:
    """Wait for longer than a worker is silent between two heartbeats."""
    time.sleep(LISTEN_S)


def _last_heard(client: Any, pool: str) -> datetime | None:
    """Return when the server last heard of this host's worker of a pool, None for never."""
    workers = {worker.name: worker for worker in client.read_workers_for_work_pool(scoped(pool))}
    found = workers.get(worker_name(pool))
    return found.last_heartbeat_time if found else None


def worker_name(pool: str, number: int = 1) -> str:
    """Return the name of this host's worker of a pool: by it, a run's host is known."""
    return f"{scoped(pool)}-{platform.node()}{f'~{number}' if number > 1 else ''}"


def worker_names(pool: str) -> list[str]:
    """Return the names that this host's workers of a pool may have: with other cards there were others."""
    return [worker_name(pool, number) for number in range(1, (MOST_WORKERS if pool == GPU else 1) + 1)]


def _asked(pools: list[str], settings: Settings) -> list[tuple[str, int]]:
    """Return the workers to run: one a pool; of the gpu pool one for each stage that this machine has cards for."""
    from flows.order import places_here

    many = min(max(1, places_here(settings)), MOST_WORKERS) if GPU in pools else 1
    return [(pool, number) for pool in pools for number in range(1, (many if pool == GPU else 1) + 1)]


def sweep_now(pools: list[str], deployments: list[Any], **settled: timedelta) -> None:
    """End what these workers' runs left behind."""
    from prefect.client.orchestration import get_client

    from flows.approvals import end_overdue
    from flows.orphans import sweep

    with get_client(sync_client=True) as client:
        sweep(client, [name for pool in pools for name in worker_names(pool)], deployments, **settled)
        end_overdue(client, deployments)


def run_workers(project: Project, asked: list[tuple[str, int]], deployments: list[Any]) -> None:
    """Run workers until Ctrl-C or SIGTERM; one that ends by itself is started again, ever more slowly.

    Prefect's worker gives up where its server is away for some ten minutes.

    Args:
        project: where.
        asked: pool and number of each.
        deployments: ids of this project's.

    Raises:
        TransientError: a worker ended again and again.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
    pools = list(dict.fromkeys(pool for pool, _ in asked))
    try:
        for one in asked:
            workers[one] = _start(project, *one)
        log.info("workers for %s run; Ctrl-C stops them. Start a run: prefect deployment run %s",
                 " and ".join(map(scoped, pools)), scoped_deployment("pipeline/nightly"))  # fmt: skip
        if (many := sum(pool == GPU for pool, _ in asked)) > 1:
            log.info("%d workers for %s: so many stages at a time have cards here", many, scoped(GPU))
        _keep(project, workers, pools, deployments)
    except KeyboardInterrupt:
        log.info("stopping the workers")
        return
    finally:
        _stop(list(workers.values()))
        # A worker that is stopped ends its runs, and Prefect goes on showing them as Running.
        _sweep_if_reachable(pools, deployments, settled=timedelta(0))


def _keep(
    project: Project,
    workers: "dict[tuple[str, int], subprocess.Popen[bytes]]",
    pools: list[str],
    deployments: list[Any],
) -> None:
    """Look after the workers, and sweep now and then: a worker cannot report a run while the server is away.

    Raises:
        TransientError: a worker ended again and again.
    """
    swept = time.monotonic()
    tries = {one: Tries() for one in workers}
    while True:
        time.sleep(POLL_S)
        for one, worker in workers.items():
            if worker.poll() is None:
                continue
            wait_s = tries[one].next_wait_s()
            if wait_s is None:
                raise TransientError(f"the worker of pool {one[0]} ends again and again", "its last lines are above")
            log.error("the worker of pool %s ended by itself; it is started again in %.0f s", one[0], wait_s)
            time.sleep(wait_s)
            _await_server()
            workers[one] = _start(project, *one)
        if time.monotonic() - swept > SWEEP_EVERY_S:
            _sweep_if_reachable(pools, deployments)
            swept = time.monotonic()


class Tries:
    """How often a worker was started of late, and how long to wait before the next time."""

    def __init__(self) -> None:
        self.count, self.started = 0, time.monotonic()

    def next_wait_s(self) -> float | None:
        """Return how long to wait before the next start, None where it makes no sense any more."""
        now = time.monotonic()
        self.count = 0 if now - self.started > SETTLED_S else self.count
        self.started = now
        self.count += 1
        return RESTARTS_AFTER_S[self.count - 1] if self.count <= len(RESTARTS_AFTER_S) else None


def _await_server() -> None:
    """Wait until the server answers; a worker started before ends at once."""
    told = False
    while True:
        try:
            return require_server()
        except TransientError as error:
            if not told:
                log.warning("%s; waiting for it", error.message)
            told = True
            time.sleep(SERVER_POLL_S)


def _sweep_if_reachable(pools: list[str], deployments: list[Any], **settled: timedelta) -> None:
    """Sweep, or leave it to the next time where the server does not answer."""
    from flows.trigger import reachable

    try:
        with reachable():
            sweep_now(pools, deployments, **settled)
    except TransientError as error:
        log.warning("%s; what has no process is ended when the server is back", error.message)


def _start(project: Project, pool: str, number: int) -> "subprocess.Popen[bytes]":
    """Start a worker under a keeper: it does not outlive this process, and ends its runs where it can."""
    command = held(_command(pool, number), STOP_GRACE_S)
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=project.root, start_new_session=True)


def _command(pool: str, number: int) -> list[str]:
    """Return the command line of a worker."""
    if pool == RELEASE:
        return [sys.executable, "-m", "flows.release_worker", "worker", "--name", worker_name(pool)]
    limit = POOLS[pool]
    words = ["worker", "start", "--pool", scoped(pool), "--type", "process", "--name", worker_name(pool, number)]
    return _prefect(*words, *(["--limit", str(limit)] if limit else []))


def _stop(workers: "list[subprocess.Popen[bytes]]") -> None:
    """Let the keepers end their workers, and wait for them."""
    for worker in workers:
        if worker.stdin:
            worker.stdin.close()
    for worker in workers:
        worker.wait()


def _ask_prefect(project: Project, *words: str) -> None:
    """Run a prefect command that must succeed."""
    done = subprocess.run(_prefect(*words), cwd=project.root, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise MissingToolError(f"prefect {' '.join(words)} failed:\n{said}", "mend what it names, then make workers")


def _prefect(*words: str) -> list[str]:
    """Return a command line of this environment's prefect."""
    return [str(Path(sys.executable).with_name("prefect")), *words]


if __name__ == "__main__":
    setup_logging()
    sys.exit(guarded(lambda: main(standalone_mode=False)))
