"""MLflow: the only module that imports it. The run that a training logs to, and the client everything else uses."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.core.errors import ConfigError, MissingToolError, TransientError
from tasks.core.outbox import Event, Spool
from tasks.core.project import Project

log = logging.getLogger(__name__)

EXPERIMENT = "tunegate"
LINEAGE_TAG = "tunegate.lineage_id"
STAGE_TAG = "tunegate.stage"
#: MLflow's own limit on a dataset digest.
DATASET_DIGEST_CHARACTERS = 36
#: The metric that every step logs: how far a run is.
STEP_METRIC = "loss"
#: MLflow's words for a server or a store that does not answer now; every other is a refusal.
AWAY = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED",
                  "RESOURCE_EXHAUSTED", "CANCELLED", "ABORTED"})  # fmt: skip
#: Its words for a login that is missing, wrong, or may not do that.
REFUSES = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})
LOGIN = "MLFLOW_TRACKING_USERNAME"
#: One try of a request, in seconds; MLflow's defaults are 120 s and seven more tries.
SHORT_WAITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
TRIES_LOGGED_BY = ("mlflow.store.db.utils", "urllib3.connectionpool")


def client(project: Project) -> Any:
    """Return an MlflowClient on the project's store; nothing global is set.

    Raises:
        TransientError: the store does not answer.
        ConfigError: it asks for a login, or the one given is wrong.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    try:
        # One try: what is there answers, and what is not must not hold up a rollback for minutes.
        with short_waits():
            found = _client(project)
            found.search_experiments(max_results=1)
    except (MlflowException, OperationalError) as error:
        if getattr(error, "error_code", "") in REFUSES:
            raise _refusal(error) from error
        raise TransientError(f"MLflow at {project.mlflow_uri} does not answer: {error}",
                             "start it, or unset MLFLOW_TRACKING_URI to use the local store") from error  # fmt: skip
    return found


def _client(project: Project) -> Any:
    """Return an MlflowClient that has asked nothing of a server yet."""
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    from mlflow.tracking import MlflowClient

    project.state.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=project.mlflow_uri, registry_uri=project.mlflow_uri)


def experiment_id(found: Any, project: Project) -> str:
    """Return the id of Tunegate's experiment, made at first use; a sqlite store keeps artifacts in local state."""
    existing = found.get_experiment_by_name(EXPERIMENT)
    if existing:
        return str(existing.experiment_id)
    local = project.mlflow_uri.startswith("sqlite:")
    place = (project.state / "mlflow-artifacts").as_uri() if local else None
    return str(found.create_experiment(EXPERIMENT, artifact_location=place))


class TrainingSender:
    """Sends the events of one training to its MLflow run; sending the same ones again changes nothing.

    Args:
        project: where the store is.
        lineage_id: tag of the run.
        spool: has the run's id, as soon as there is one.
        again: whether a run that finished is this training too: its output was never recorded.
    """

    def __init__(self, project: Project, lineage_id: str, spool: Spool, *, again: bool = False) -> None:
        self.project, self.lineage_id, self.spool, self.again = project, lineage_id, spool, again
        known = [event["run"] for event in spool.events if "run" in event]
        here = known[-1] if known and known[-1]["uri"] == project.mlflow_uri else None
        self.run_id: str | None = here["id"] if here else None
        self.last_step = 0
        self.client: Any = None

    def send(self, events: list[Event]) -> None:
        """Send events in order.

        Raises:
            TransientError: MLflow does not answer.
            ConfigError: it refuses.
        """
        with _named_errors(self.project):
            try:
                if self.client is None:
                    self._connect()
                self._send(events)
            except BaseException:
                # What arrived of it is asked before anything is sent again.
                self.client = None
                raise

    def _connect(self) -> None:
        """Find the run or make it, and ask how far it is."""
        found = _client(self.project)
        run = _active(found, self.run_id) or self._unfinished(found) or self._created(found)
        if run.info.run_id != self.run_id:
            self.spool.append({"run": {"id": run.info.run_id, "uri": self.project.mlflow_uri}})
        history = found.get_metric_history(run.info.run_id, STEP_METRIC)
        self.run_id, self.last_step = run.info.run_id, max((metric.step for metric in history), default=0)
        self.client = found

    def _unfinished(self, found: Any) -> Any | None:
        """Return the run of this lineage to go on with, or None."""
        filters = f"tags.`{LINEAGE_TAG}` = '{self.lineage_id}' and tags.`{STAGE_TAG}` = 'train'"
        experiment = experiment_id(found, self.project)
        for run in found.search_runs([experiment], filters, order_by=["attributes.start_time DESC"]):
            if run.info.status != "FINISHED" or self.again:
                log.info("train: going on with MLflow run %s", run.info.run_id)
                return run
        return None

    def _created(self, found: Any) -> Any:
        """Return a new run, started when its first event was logged."""
        start = next((event["time_ms"] for event in self.spool.events if "time_ms" in event), None)
        run = found.create_run(
            experiment_id(found, self.project), start_time=start, run_name=f"train {self.lineage_id}",
            tags={LINEAGE_TAG: self.lineage_id, STAGE_TAG: "train"},
        )  # fmt: skip
        log.info("train: MLflow run %s", run.info.run_id)
        return run

    def _send(self, events: list[Event]) -> None:
        """Send events, of which MLflow may have some already."""
        from mlflow.entities import Metric, Param

        params = {key: value for event in events for key, value in event.get("parameters", {}).items()}
        steps = [event for event in events if event.get("step", 0) > self.last_step]
        metrics = [Metric(name, value, event["time_ms"], event["step"])
                   for event in steps for name, value in event["metrics"].items()]  # fmt: skip
        if params or metrics:
            self.client.log_batch(self.run_id, metrics, [Param(key, value) for key, value in params.items()])
        for event in events:
            if "dataset" in event:
                self._send_dataset(**event["dataset"])
        # An earlier start's end says nothing any more.
        if ends := [event for event in events if "status" in event]:
            self._send_status(**ends[-1])
        self.last_step = max([self.last_step, *(event["step"] for event in steps)])

    def _send_dataset(self, name: str, sha256: str, rows: int) -> None:
        """Name the rows as the run's input, once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if self.client.get_run(self.run_id).inputs.dataset_inputs:
            return
        digest = sha256[:DATASET_DIGEST_CHARACTERS]
        dataset = Dataset(name, digest, "local", f'{{"path": "{name}"}}', profile=f'{{"rows": {rows}}}')
        tags = [InputTag("mlflow.data.context", "training"), InputTag("tunegate.sha256", sha256)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])

    def _send_status(self, status: str, time_ms: int) -> None:
        """Set the run's status, with the time it ended."""
        if status == "RUNNING":
            self.client.update_run(self.run_id, status=status)
        else:
            self.client.set_terminated(self.run_id, status, end_time=time_ms)


def _active(found: Any, run_id: str | None) -> Any | None:
    """Return a run by its id, or None where it is not there or was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = found.get_run(run_id) if run_id else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run and run.info.lifecycle_stage == "active" else None


@contextmanager
def answering() -> Iterator[None]:
    """Turn what MLflow's client says of a store that is away into one error; for the body of a `with`, or a function.

    Raises:
        TransientError: the store does not answer.
        ConfigError: this account may not do that. What it refuses otherwise stays an MlflowException.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in AWAY | REFUSES:
            raise
        raise _named(error) from error


def _refusal(error: Any) -> ConfigError:
    """Return the error for an account that MLflow does not know, or does not let do this."""
    name = os.environ.get(LOGIN)
    who = f"account {name!r}" if name else f"nobody ({LOGIN} is not set)"
    return ConfigError(f"MLflow refuses this to {who}: {error.message}"[:500],
                       f"export {LOGIN} and MLFLOW_TRACKING_PASSWORD: of the pipeline to register, of the promoter to "
                       "change the champion (infra/README.md)")  # fmt: skip


def _named(error: Any) -> ConfigError | TransientError:
    """Return what an error of MLflow's client is to us: an account that may not, or a server that is away."""
    if error.error_code in REFUSES:
        return _refusal(error)
    return TransientError(f"MLflow did not answer: {error.message}", "check the MLflow server")


@contextmanager
def _named_errors(project: Project) -> Iterator[None]:
    """Say which of MLflow's errors mean that it is away, and which that it refuses."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    away = TransientError(f"MLflow at {project.mlflow_uri} does not answer", "start it, then the same command again")
    try:
        yield
    except OperationalError as error:
        raise TransientError(f"{away.message}: {error}", away.hint) from error
    except MlflowException as error:
        if error.error_code in AWAY:
            raise TransientError(f"{away.message}: {error.message}", away.hint) from error
        raise ConfigError(
            f"MLflow at {project.mlflow_uri} refuses what training logs: {error.message}",
            "mend that in MLflow, then the same command: training resumes from its checkpoint",
        ) from error


@contextmanager
def short_waits() -> Iterator[None]:
    """Have MLflow's own client give up soon: who retries here is the outbox, and it does not hold up training.

    MLflow retries a request for minutes, logging each try. What the environment sets is left as it is.
    """
    added = {name: value for name, value in SHORT_WAITS.items() if name not in os.environ}
    chatter = [logging.getLogger(name) for name in TRIES_LOGGED_BY]
    levels = [logger.level for logger in chatter]
    os.environ.update(added)
    for logger in chatter:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def find_run(project: Project, found: Any, tags: Mapping[str, str]) -> Any | None:
    """Return the newest run that carries all these tags, or None."""
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in sorted(tags.items()))
    runs = found.search_runs(
        [experiment_id(found, project)], condition, order_by=["attributes.start_time DESC"], max_results=1
    )
    return runs[0] if runs else None


def record_run(
    project: Project, name: str, tags: Mapping[str, str], params: Mapping[str, Any], metrics: Mapping[str, float]
) -> str:
    """Have a finished run with these tags, parameters and metrics, and return its id; a second call adds nothing.

    Args:
        name: what people see.
        tags: what it is found again by.

    Raises:
        TransientError: the store does not answer.
        ConfigError: this account may not write to it.
    """
    found = client(project)
    with answering():
        run = find_run(project, found, tags)
        if run is None:
            run = found.create_run(experiment_id(found, project), run_name=name, tags=dict(tags))
        for key, value in params.items():
            found.log_param(run.info.run_id, key, value)
        for key in metrics.keys() - run.data.metrics.keys():
            found.log_metric(run.info.run_id, key, metrics[key])
        if run.info.status != "FINISHED":
            found.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def find_registered_model(found: Any, name: str) -> Any | None:
    """Return a registered model, or None where it does not exist."""
    return _or_none(lambda: found.get_registered_model(name))


def create_registered_model(found: Any, name: str) -> None:
    """Have a registered model of this name; one that is there already is left as it is."""
    from mlflow.exceptions import MlflowException

    try:
        found.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise _named(error) from error


def find_version(found: Any, name: str, version: str) -> Any | None:
    """Return a registered version, or None where it does not exist."""
    return _or_none(lambda: found.get_model_version(name, version))


def find_alias(found: Any, name: str, alias: str) -> Any | None:
    """Return the version an alias points to, or None where model or alias does not exist."""
    return _or_none(lambda: found.get_model_version_by_alias(name, alias))


def upload(found: Any, run_id: str, source: Path, path: str) -> None:
    """Store a file or a folder's files below `path` of a run's artifacts.

    Raises:
        TransientError: the artifact store does not take it.
    """
    from mlflow.exceptions import MlflowException

    store = found.log_artifact if source.is_file() else found.log_artifacts
    try:
        store(run_id, str(source), path or None)
    except (MlflowException, OSError) as error:
        raise TransientError(
            f"could not store {source}: {error}", "check the artifact store, then run the same command again"
        ) from error


def upload_tree(folder: Path, store: str) -> None:
    """Copy a folder's files into an artifact store, as they lie there.

    Raises:
        TransientError: the store does not take them.
        MissingToolError: what talks to such a store is not installed.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        get_artifact_repository(store).log_artifacts(str(folder))
    except ImportError as error:
        raise MissingToolError(f"no client for {store}: {error}", "pip install boto3, for S3") from error
    except (MlflowException, OSError) as error:
        raise TransientError(f"could not copy {folder} to {store}: {error}", "check the artifact store") from error


def delete_artifacts(artifact_uri: str) -> None:
    """Delete a file or folder of a run's artifacts; one that is gone already is no error.

    Raises:
        TransientError: the artifact store does not answer.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    root, _, name = artifact_uri.rpartition("/")
    try:
        get_artifact_repository(root).delete_artifacts(name)
    except (MlflowException, OSError) as error:
        raise TransientError(f"could not delete {artifact_uri}: {error}", "check the artifact store") from error


def download(artifact_uri: str, destination: Path) -> Path:
    """Return a local folder with an artifact: in place for a local store, else downloaded to `destination`.

    Raises:
        TransientError: the artifact store does not answer or does not have it.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    if artifact_uri.startswith("file:"):
        return Path(unquote(urlsplit(artifact_uri).path))
    destination.mkdir(parents=True, exist_ok=True)
    try:
        return Path(download_artifacts(artifact_uri=artifact_uri, dst_path=str(destination)))
    except (MlflowException, OSError) as error:
        raise TransientError(f"could not download {artifact_uri}: {error}", "check the artifact store") from error


def _or_none(look_up: Callable[[], Any]) -> Any | None:
    """Return what a look-up finds; MLflow says by an exception that there is nothing."""
    from mlflow.exceptions import MlflowException

    try:
        return look_up()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise _named(error) from error
