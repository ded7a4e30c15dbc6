"""A stage as a run of another deployment: followed through a server's silence, never waited for in vain."""

import time
from typing import Any

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling

from flows.dvc import AnyLogger
from flows.outcome import error_of
from flows.silence import is_silence
from tasks.core.errors import ConfigError, TransientError
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.stages.failures import clear_failure, recorded_failure
from tasks.stages.table import Stage

POLL_S = 5.0
#: A run that no worker takes in this time is waited for in vain; one that waits behind another run is not.
PICK_UP_S = 900.0
#: A server may be restarted, moved or upgraded under a stage of hours.
SILENCE_S = 1800.0
QUEUED = "AwaitingConcurrencySlot"
SAY_EVERY_S = 300.0


def run_elsewhere(stage: Stage, deployment: str, project: Project, logger: AnyLogger, timeout_s: float) -> None:
    """Run a stage as a run of another deployment and wait for it.

    Args:
        stage: what to run.
        deployment: `flow/name` of the deployment.
        project: the checkout; a worker that shares it leaves the reason of a failure there.
        logger: of the task run.
        timeout_s: longest wait, queue included.

    Raises:
        TunegateError: what the stage refused; TransientError where no worker takes the run, its worker was lost, the
            server is silent for half an hour or the time is over.
    """
    clear_failure(project, stage.name)
    logger.info("%s: as a run of %s; it waits for a worker of that pool", stage.name, deployment)
    run = _started(deployment, stage)
    try:
        state = Following(run.id, stage, deployment, logger, timeout_s).wait()
    except BaseException as error:
        # A cancelled or failed pipeline must not leave its stage running on another machine.
        if not is_silence(error):
            _cancel(run.id, f"{stage.name}: nobody waits for it any more")
        raise
    # A worker on another machine left its reason in its own checkout; its run's state carries it too.
    if reason := recorded_failure(project, stage.name) or error_of(state):
        raise reason


def _started(deployment: str, stage: Stage) -> Any:
    """Start a run of the deployment, below the present task in Prefect's graph.

    Raises:
        ConfigError: the server has no such deployment.
    """
    try:
        return run_deployment(deployment, parameters={"name": stage.name}, timeout=0, as_subflow=True)
    except ObjectNotFound as error:
        hint = "make workers deploys infra/prefect.yaml"
        raise ConfigError(f"no deployment is called {deployment!r}", hint) from error


class Following:
    """Follows one run until it has ended.

    Args:
        run_id: the run.
        stage: what it runs.
        deployment: of which it is a run.
        logger: gets a line at every change and every few minutes.
        timeout_s: longest wait.
    """

    def __init__(self, run_id: Any, stage: Stage, deployment: str, logger: AnyLogger, timeout_s: float) -> None:
        self.run_id, self.stage, self.deployment, self.logger = run_id, stage, deployment, logger
        self.timeout_s = timeout_s
        self.started = self.heard = self.told = time.monotonic()
        self.unclaimed: float | None = self.started
        self.name = ""

    def wait(self) -> Any:
        """Return the run's last state.

        Raises:
            TransientError: no worker, no server, or no time left.
        """
        while True:
            state = self._read()
            if state is not None and state.is_final():
                return state
            if state is not None:
                self._note(state)
            self._require_hope()
            time.sleep(POLL_S)

    def _read(self) -> Any | None:
        """Return the state, or None while the server is silent.

        Raises:
            httpx.HTTPError: it has been silent for too long.
        """
        import httpx

        try:
            # One try a look: Prefect's own retries are for what must be said, and would keep this wait silent.
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
                state = client.read_flow_run(self.run_id).state
        except httpx.HTTPError as error:
            if not is_silence(error) or time.monotonic() - self.heard > SILENCE_S:
                raise
            self._say("the Prefect server does not answer; the stage goes on, and so does the wait")
            return None
        self.heard = time.monotonic()
        return state

    def _note(self, state: Any) -> None:
        """Log a change, and count how long nobody has taken the run."""
        if state.name != self.name:
            self.name = state.name
            self.logger.info("%s: %s", self.stage.name, state.name)
        waiting = (state.is_scheduled() or state.is_pending()) and state.name != QUEUED
        self.unclaimed = (self.unclaimed or time.monotonic()) if waiting else None
        if not state.is_running():
            self._say(f"{self.stage.name}: {state.name} for a worker of {self.deployment}")

    def _say(self, text: str) -> None:
        """Log every few minutes."""
        if time.monotonic() - self.told > SAY_EVERY_S:
            self.told = time.monotonic()
            self.logger.warning("%s (%s)", text, duration(self.told - self.started))

    def _require_hope(self) -> None:
        """Stop a wait that nothing will end."""
        now = time.monotonic()
        if self.unclaimed and now - self.unclaimed > PICK_UP_S:
            raise TransientError(
                f"stage {self.stage.name}: no worker took the run of {self.deployment} in {duration(PICK_UP_S)}",
                "make workers on the machine of that pool; prefect work-pool ls shows whether it is paused",
            )
        if now - self.started > self.timeout_s:
            waited = duration(self.timeout_s)
            raise TransientError(
                f"stage {self.stage.name}: the run of {self.deployment} is {self.name} after {waited}",
                "look at its log: make prefect-ui; finished stages are kept",
            )


def _cancel(run_id: Any, message: str) -> None:
    """Ask for the end of a run: its worker ends its process."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(message=message))
