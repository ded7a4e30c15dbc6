"""The worker of pool release: it runs what this checkout says a deployment is, whatever the Prefect server says.

Prefect has one login for all. Who has it (every pipeline worker) may write any deployment, work pool and flow run, with
any command, environment, entrypoint and pull step; Prefect's own process worker would run that beside the credential
for promotion. Of what the server says this one takes a deployment's name and a run's parameters, which the flow checks.
"""

import asyncio
import os
import signal
import sys

import click

from flows.environment import prepare_environment
from tasks.core.guard import guarded
from tasks.core.logs import setup_logging
from tasks.core.project import Project


@click.command()
@click.argument("worker", type=click.Choice(["worker"]))
@click.option("--name", required=True, help="The worker's name: release-HOST.")
@click.option("--with-healthcheck", is_flag=True, help="Answer GET /health at PREFECT_WORKER_WEBSERVER_PORT.")
def main(worker: str, name: str, with_healthcheck: bool) -> None:
    """Take runs of pool release until ended; `python -m flows.release_worker worker --name NAME`."""
    project = Project.here()
    prepare_environment(project)
    from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS
    from prefect.utilities.processutils import setup_signal_handlers_worker

    from flows.release_runs import ReleaseWorker, use_own_hooks
    from flows.scope import scoped
    from flows.workers import RELEASE

    # A shell that starts it in the background has SIGINT ignored; Prefect's answer to SIGTERM is to send itself that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    setup_signal_handlers_worker(os.getpid(), "the release worker", click.echo)
    use_own_hooks(project.root)
    found = ReleaseWorker(
        scoped(RELEASE), name=name, heartbeat_interval_seconds=int(PREFECT_WORKER_HEARTBEAT_SECONDS.value()),
        create_pool_if_not_found=False,
    )  # fmt: skip
    found.root = project.root
    try:
        asyncio.run(found.start(with_healthcheck=with_healthcheck, printer=click.echo))
    except asyncio.CancelledError:
        click.echo(f"Worker {name!r} stopped!")


if __name__ == "__main__":
    setup_logging()
    sys.exit(guarded(lambda: main(standalone_mode=False)))
