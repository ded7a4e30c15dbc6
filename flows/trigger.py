"""Start a run of a deployment on a Prefect server and wait for its outcome: what GitHub Actions calls.

    PREFECT_API_URL=https://prefect.example.org/api PREFECT_API_AUTH_STRING=user:password \\
        python -m flows.trigger pipeline/nightly --commit $(git rev-parse HEAD) --wait

Exit codes as everywhere: 0 completed, 2 wrong settings (no such deployment, no credentials), 3 data contract, 4 the
gate did not pass, 5 a missing tool, 75 transient (no server, a lost worker, --timeout-s over), 1 anything else. The
last line on stdout is one JSON object.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import click

from flows.deployments import no_deployment
from flows.environment import prepare_environment
from flows.outcome import error_of
from flows.scope import scoped_deployment
from flows.transient import is_silence, looks
from tasks.core.errors import ConfigError, TransientError
from tasks.core.guard import guarded
from tasks.core.logs import setup_logging
from tasks.core.progress import duration
from tasks.core.project import Project

log = logging.getLogger(__name__)

#: Before the commit in a run's tags.
COMMIT_TAG = "commit:"
POLL_S = 5.0
#: A server may restart under a run of hours: only this long a silence in a row is a lost server.
SILENCE_S = 300.0


@click.command()
@click.argument("deployment", metavar="FLOW/DEPLOYMENT")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the flow, as text.")
@click.option("--commit", metavar="SHA", help="Commit to run, in full: passed as `rev`, and the run must say it.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended and exit with its outcome.")
@click.option("--timeout-s", type=float, default=6 * 3600, show_default=True, help="Longest wait; the run goes on.")
@click.option("--poll-s", type=float, default=POLL_S, show_default=True, help="Seconds between two looks.")
def main(
    deployment: str, params: tuple[str, ...], commit: str | None, wait: bool, timeout_s: float, poll_s: float
) -> None:
    """Start a run of FLOW/DEPLOYMENT on the server at PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError("PREFECT_API_URL is not set", "export PREFECT_API_URL=https://<your Prefect server>/api")
    # Here a person waits for the first answer, and `follow` has a patience of its own.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    prepare_environment(Project.here())
    deployment = scoped_deployment(deployment)
    from prefect.client.orchestration import get_client

    with reachable(), get_client(sync_client=True) as client:
        run = start(client, deployment, parse_params(params) | ({"rev": commit} if commit else {}))
        log.info("%s: run %s (%s)", deployment, run.name, run.id)
    state = follow(run.id, timeout_s, poll_s) if wait else run.state
    click.echo(json.dumps({"run_id": str(run.id), "name": run.name, "state": state.name}, sort_keys=True))
    if wait and commit:
        require_commit(run.id, commit)
    if wait and (error := error_of(state)):
        raise error


def parse_params(params: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE pairs as a mapping; values stay text.

    Raises:
        ConfigError: one has no `=`.
    """
    pairs = [item.partition("=") for item in params]
    if wrong := [name for name, sign, _ in pairs if not (sign and name)]:
        raise ConfigError(f"--param {wrong[0]!r} is not NAME=VALUE", "--param version=3")
    return {name: value for name, _, value in pairs}


def start(client: Any, deployment: str, params: dict[str, str]) -> Any:
    """Create a run and return it.

    Raises:
        ConfigError: the server has no such deployment, or refuses the parameters.
    """
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        found = client.read_deployment_by_name(deployment)
        # Asked again where the answer is lost, it is one run.
        return client.create_flow_run_from_deployment(found.id, parameters={**found.parameters, **params},
                                                      idempotency_key=str(uuid4()))  # fmt: skip
    except (ObjectNotFound, ValueError) as error:
        raise no_deployment(deployment) from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (409, 422):
            raise ConfigError(f"{deployment} refuses {params}: {error}", "prefect deployment inspect") from error
        raise


def follow(run_id: Any, timeout_s: float, poll_s: float) -> Any:
    """Wait for a run to end, logging every change of its state, and return its last state.

    Raises:
        TransientError: it did not end in time, or the server was silent for too long; the run itself goes on.
    """
    started, told = time.monotonic(), ""
    again = partial(log.warning, "the server does not answer; trying again")
    for state in looks(lambda: _read_state(run_id), every_s=poll_s, silence_s=SILENCE_S, say=again):
        if state is not None and state.name != told:
            told = state.name
            log.info("%s after %s", told, duration(time.monotonic() - started))
        if state is not None and state.is_final():
            return state
        if time.monotonic() - started > timeout_s:
            break
    raise TransientError(f"the run is still {told} after {duration(timeout_s)}; it goes on", "raise --timeout-s")


def require_commit(run_id: Any, commit: str) -> None:
    """Refuse the outcome of a run that was of another commit than the one asked for.

    Raises:
        ConfigError: it says another one, or none although it went on to its stages.
    """
    from prefect.client.orchestration import get_client

    with reachable(), get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
    said = [tag.removeprefix(COMMIT_TAG) for tag in run.tags if tag.startswith(COMMIT_TAG)]
    # A run that was refused before it had its folder has no tag: its own error says why.
    if said != [commit] and (said or run.state is None or run.state.is_completed()):
        raise ConfigError(f"the run is of commit {said[0] if said else '(none)'}, and not of {commit}",
                          "a worker of an older release? make workers there, then start the run again")  # fmt: skip


def _read_state(run_id: Any) -> Any:
    """Return the present state of a run."""
    from prefect.client.orchestration import get_client

    with reachable(), get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).state


@contextmanager
def reachable() -> Iterator[None]:
    """Turn a server that cannot be reached, or lets nobody in, into one clear message.

    Raises:
        TransientError: no answer, or an error of the server's own.
        ConfigError: the credentials are refused.
    """
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    url = os.environ["PREFECT_API_URL"]
    try:
        yield
    except httpx.TransportError as error:
        raise TransientError(f"no Prefect server at {url}: {error}", "start it, or correct PREFECT_API_URL") from error
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise ConfigError(f"{url} answers {code}", "export PREFECT_API_AUTH_STRING=<user>:<password>") from error
        if is_silence(error):
            raise TransientError(f"{url} answers {code}", "look at the server's log") from error
        raise


if __name__ == "__main__":
    setup_logging()
    sys.exit(guarded(lambda: main(standalone_mode=False)))
