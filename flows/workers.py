"""`make workers`: have the pools, deploy infra/prefect.yaml, run one worker a pool until Ctrl-C."""

import logging
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from flows.environment import prepare_environment
from tasks.core.errors import MissingToolError, TransientError
from tasks.core.guard import guarded
from tasks.core.keeper import held
from tasks.core.logs import setup_logging
from tasks.core.project import Project
from tasks.machine.network import answer_of

log = logging.getLogger(__name__)

LOCAL_API = "http://127.0.0.1:4200/api"
#: pool -> how many runs its worker takes at once: stages that need the GPU one by one; a pipeline that waits for such
#: a stage must not keep the reconciler from running.
POOLS: dict[str, int | None] = {"cpu": None, "gpu": 1}
PREFECT_FILE = "infra/prefect.yaml"
#: How long a worker may take to end its runs before it is killed.
STOP_GRACE_S = 30.0
POLL_S = 0.5


@click.command()
@click.option("--deploy-only", is_flag=True, help="Create the pools and deploy, start no worker.")
@click.option("--pool", "pools", multiple=True, type=click.Choice(list(POOLS)), help="Only a worker of this pool.")
def main(deploy_only: bool, pools: tuple[str, ...]) -> None:
    """Create the work pools cpu and gpu, deploy infra/prefect.yaml, and run one process worker for each pool.

    Needs a running server: make prefect-ui, or PREFECT_API_URL.
    """
    project = Project.here()
    prepare_environment(project)
    os.environ.setdefault("PREFECT_API_URL", LOCAL_API)
    require_server()
    deploy(project)
    if not deploy_only:
        run_workers(project, list(pools or POOLS))


def require_server() -> None:
    """Refuse to start without a server.

    Raises:
        TransientError: none answers at PREFECT_API_URL.
    """
    url = os.environ["PREFECT_API_URL"].rstrip("/")
    answer = answer_of(f"{url}/health")
    if answer != 200:
        said = answer if isinstance(answer, str) else f"answers {answer}"
        raise TransientError(
            f"no Prefect server at {url}: {said}", "make prefect-ui in another terminal, or correct PREFECT_API_URL"
        )


def deploy(project: Project) -> None:
    """Have both pools and put every deployment of infra/prefect.yaml on the server.

    Raises:
        MissingToolError: Prefect refuses; its own words are quoted.
    """
    for pool in POOLS:
        if subprocess.run(_prefect("work-pool", "inspect", pool), cwd=project.root, capture_output=True).returncode:
            _ask_prefect(project, "work-pool", "create", pool, "--type", "process")
            log.info("work pool %s: created", pool)
    _ask_prefect(project, "--no-prompt", "deploy", "--prefect-file", PREFECT_FILE, "--all")
    log.info("deployed %s: prefect deployment ls shows what", PREFECT_FILE)


def run_workers(project: Project, pools: list[str]) -> None:
    """Run one worker a pool until Ctrl-C, SIGTERM, or the end of one of them.

    Raises:
        TransientError: a worker ended by itself.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for pool in pools:
            workers[pool] = _start(project, pool)
        log.info("workers for %s run; Ctrl-C stops them. Start a run: prefect deployment run pipeline/nightly",
                 " and ".join(pools))  # fmt: skip
        while all(worker.poll() is None for worker in workers.values()):
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        log.info("stopping the workers")
        return
    finally:
        _stop(list(workers.values()))
    ended = next(pool for pool, worker in workers.items() if worker.returncode is not None)
    raise TransientError(f"the worker of pool {ended} ended by itself", "its last lines are above; make workers")


def _start(project: Project, pool: str) -> "subprocess.Popen[bytes]":
    """Start a worker under a keeper: neither it nor its runs outlive this process."""
    limit = POOLS[pool]
    words = ["worker", "start", "--pool", pool, "--type", "process", "--name", f"{pool}-{platform.node()}"]
    words += ["--limit", str(limit)] if limit else []
    command = held(_prefect(*words), STOP_GRACE_S)
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=project.root, start_new_session=True)


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
