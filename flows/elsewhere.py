"""A part of a run as a run of another deployment: followed through a server's silence, never waited for in vain."""

import time
from typing import Any, NamedTuple
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling

from flows.deployments import no_deployment
from flows.handover import lend, take_back
from flows.limits import Allowance
from flows.outcome import error_of
from flows.repro import AnyLogger
from flows.run import Run
from flows.scope import scoped_deployment
from flows.transient import SILENCE_S, answered, is_silence, looks
from tasks.core.errors import TransientError, TunegateError
from tasks.core.progress import duration
from tasks.stages.failures import clear_failure, recorded_failure
from tasks.stages.table import Stage

POLL_S = 2.0
#: A run of a pool that has had no living worker for so long is waited for in vain.
PICK_UP_S = 900.0
SAY_EVERY_S = 300.0


class Ended(NamedTuple):
    """A run of another deployment that has ended.

    Args:
        run_id: Prefect's.
        reason: why it did not complete; None where it did.
    """

    run_id: Any
    reason: TunegateError | None


def run_elsewhere(stage: Stage, deployment: str, run: Run, logger: AnyLogger, allowance: Allowance) -> None:
    """Run a stage as a run of another deployment and wait for it.

    Args:
        stage: what to run.
        deployment: `flow/name` of the deployment.
        run: whose stage; a worker that shares its folder leaves the reason of a failure there.
        logger: of the task run.
        allowance: the time that is left; the wait in the queue counts for the run's, the stage's own is the worker's.

    Raises:
        TunegateError: what the stage refused, or that the run took too long; TransientError where no worker takes the
            run, its worker was lost, or the server is silent for half an hour.
    """
    project = run.project
    clear_failure(project, stage.name)
    parameters: dict[str, Any] = {"name": stage.name, **run.parameters()}
    if run.remote:
        parameters["lock"] = lend(stage, project, run.remote, logger)
    ended = run_deployed(stage.name, deployment, parameters, logger, allowance)
    # A worker on another machine left its reason in its own checkout; its run's state carries it too.
    if reason := recorded_failure(project, stage.name) or ended.reason:
        raise reason
    if run.remote:
        take_back(stage, project, run.remote, ended.run_id, logger)


def run_deployed(
    what: str, deployment: str, parameters: dict[str, Any], logger: AnyLogger, allowance: Allowance
) -> Ended:
    """Run a deployment, wait for its end, and return which run it was and why it did not complete.

    Args:
        what: the part of the run that this is, for messages.
        deployment: `flow/name`.
        parameters: of its flow.
        logger: of the task run.
        allowance: the time that is left.

    Raises:
        TunegateError: there is no such deployment, no worker takes it, its time is over, or the server is silent.
    """
    deployment = scoped_deployment(deployment)
    logger.info("%s: as a run of %s; it waits for a worker of that pool", what, deployment)
    run = _started(what, deployment, parameters, logger)
    try:
        state = Following(run.id, what, deployment, logger, allowance).wait()
    except BaseException as error:
        # A cancelled or failed pipeline must not leave its stage running on another machine.
        if not is_silence(error):
            _cancel(run.id, f"{what}: nobody waits for it any more")
        raise
    return Ended(run.id, error_of(state))


def _started(what: str, deployment: str, parameters: dict[str, Any], logger: AnyLogger) -> Any:
    """Start a run of the deployment, below the present task in Prefect's graph; one, however often that is asked for.

    Raises:
        ConfigError: the server has no such deployment.
    """
    # A server that is killed when it has made the run and not yet said so is asked again.
    key = str(uuid4())

    def ask() -> Any:
        return run_deployment(deployment, parameters=parameters, timeout=0, as_subflow=True, idempotency_key=key)

    try:
        return answered(ask, what, logger)
    except ObjectNotFound as error:
        raise no_deployment(deployment) from error


class Following:
    """Follows one run until it has ended.

    Args:
        run_id: the run.
        what: what it runs, for messages.
        deployment: of which it is a run.
        logger: gets a line at every change and every few minutes.
        allowance: the time that is left to the run which waits.
    """

    def __init__(self, run_id: Any, what: str, deployment: str, logger: AnyLogger, allowance: Allowance) -> None:
        self.run_id, self.what, self.deployment, self.logger = run_id, what, deployment, logger
        self.allowance = allowance
        self.started = self.told = time.monotonic()
        #: Since when the run waits and no worker of its pool lives.
        self.alone: float | None = None
        self.name = ""

    def wait(self) -> Any:
        """Return the run's last state.

        Raises:
            TransientError: no worker, or no server.
            TunegateError: no time left.
        """
        for state in looks(self._look, every_s=POLL_S, silence_s=SILENCE_S, say=self._say_silent):
            if state is not None and state.is_final():
                break
            if self.alone and time.monotonic() - self.alone > PICK_UP_S:
                raise TransientError(
                    f"{self.what}: no worker took the run of {self.deployment} in {duration(PICK_UP_S)}",
                    "make workers on the machine of that pool; prefect work-pool ls shows whether it is paused",
                )
            self.allowance.stage_s(self.what)
        return state

    def _look(self) -> Any:
        """Return the state, and note what it means."""
        # One try a look: Prefect's own retries are for what must be said, and would keep this wait silent.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            run = client.read_flow_run(self.run_id)
            self._note(client, run)
        return run.state

    def _say_silent(self) -> None:
        """Log that nothing is lost meanwhile."""
        self._say("the Prefect server does not answer; the run goes on, and so does the wait")

    def _note(self, client: Any, run: Any) -> None:
        """Log a change, and keep since when there is nobody to take the run."""
        if run.state.name != self.name:
            self.name = run.state.name
            self.logger.info("%s: %s", self.what, self.name)
        if not (run.state.is_scheduled() or run.state.is_pending()):
            self.alone = None
            return
        # Behind another run of the queue it may wait for hours; without a worker, for ever.
        workers = client.read_workers_for_work_pool(run.work_pool_name)
        alive = any(worker.status == WorkerStatus.ONLINE for worker in workers)
        self.alone = None if alive else self.alone or time.monotonic()
        self._say(f"{self.what}: waits for {'its turn' if alive else 'a worker'} of {self.deployment}")

    def _say(self, text: str) -> None:
        """Log every few minutes."""
        if time.monotonic() - self.told > SAY_EVERY_S:
            self.told = time.monotonic()
            self.logger.warning("%s (%s)", text, duration(self.told - self.started))


def _cancel(run_id: Any, message: str) -> None:
    """Ask for the end of a run: its worker ends its process."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(message=message))
