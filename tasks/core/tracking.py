"""MLflow: the only module that imports it. What a training run logs, and the client everything else uses."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.core.errors import TransientError
from tasks.core.project import Project

log = logging.getLogger(__name__)

EXPERIMENT = "tunegate"
LINEAGE_TAG = "tunegate.lineage_id"
STAGE_TAG = "tunegate.stage"
#: MLflow's own limit on a dataset digest.
DATASET_DIGEST_CHARACTERS = 36
#: Metrics are sent together this often: a round trip a step would cost more than the step of a tiny model.
FLUSH_EVERY_S = 5.0


def client(project: Project) -> Any:
    """Return an MlflowClient on the project's store; nothing global is set.

    Raises:
        TransientError: the store does not answer.
    """
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    project.state.mkdir(parents=True, exist_ok=True)
    found = MlflowClient(tracking_uri=project.mlflow_uri, registry_uri=project.mlflow_uri)
    try:
        found.search_experiments(max_results=1)
    except MlflowException as error:
        raise TransientError(f"MLflow at {project.mlflow_uri} does not answer: {error}",
                             "start it, or unset MLFLOW_TRACKING_URI to use the local store") from error  # fmt: skip
    return found


def experiment_id(found: Any, project: Project) -> str:
    """Return the id of Tunegate's experiment, made at first use; a sqlite store keeps artifacts in local state."""
    existing = found.get_experiment_by_name(EXPERIMENT)
    if existing:
        return str(existing.experiment_id)
    local = project.mlflow_uri.startswith("sqlite:")
    place = (project.state / "mlflow-artifacts").as_uri() if local else None
    return str(found.create_experiment(EXPERIMENT, artifact_location=place))


class TrainingRun:
    """One MLflow run of the train stage.

    Args:
        found: client.
        run_id: the run.
        last_step: last step it already has; a resumed training repeats steps bit for bit and need not log them again.
    """

    def __init__(self, found: Any, run_id: str, last_step: int) -> None:
        self.client, self.run_id, self.last_step = found, run_id, last_step
        self._pending: list[Any] = []
        self._flushed = time.monotonic()

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names. Logging the same values again changes nothing."""
        from mlflow.entities import Param

        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in flat(values)])

    def log_dataset(self, name: str, sha256: str, rows: int) -> None:
        """Log the rows trained on as the run's input, by digest; logged once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if self.client.get_run(self.run_id).inputs.dataset_inputs:
            return
        digest = sha256[:DATASET_DIGEST_CHARACTERS]
        dataset = Dataset(name, digest, "local", f'{{"path": "{name}"}}', profile=f'{{"rows": {rows}}}')
        tags = [InputTag("mlflow.data.context", "training"), InputTag("tunegate.sha256", sha256)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of one step; sent every few seconds and at the end."""
        from mlflow.entities import Metric

        if step > self.last_step:
            now = int(time.time() * 1000)
            self._pending += [Metric(key, value, now, step) for key, value in metrics.items()]
        if time.monotonic() - self._flushed > FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what is pending."""
        if self._pending:
            self.client.log_batch(self.run_id, metrics=self._pending)
        self._pending, self._flushed = [], time.monotonic()


@contextmanager
def training_run(project: Project, lineage_id: str) -> Iterator[TrainingRun]:
    """Give the MLflow run of this training: the unfinished one of the same lineage (it was killed), or a new one.

    Args:
        project: where the store is.
        lineage_id: tag by which every plane finds the run.
    """
    found = client(project)
    run = _unfinished(found, project, lineage_id)
    try:
        yield run
    except BaseException:
        run.flush()
        found.set_terminated(run.run_id, "FAILED")
        raise
    run.flush()
    found.set_terminated(run.run_id, "FINISHED")


def _unfinished(found: Any, project: Project, lineage_id: str) -> TrainingRun:
    """Return the run to log to, marked as running."""
    experiment = experiment_id(found, project)
    filters = f"tags.`{LINEAGE_TAG}` = '{lineage_id}' and tags.`{STAGE_TAG}` = 'train'"
    for run in found.search_runs([experiment], filters, order_by=["attributes.start_time DESC"]):
        if run.info.status != "FINISHED":
            history = found.get_metric_history(run.info.run_id, "loss")
            found.update_run(run.info.run_id, status="RUNNING")
            log.info("train: going on with MLflow run %s", run.info.run_id)
            return TrainingRun(found, run.info.run_id, max((metric.step for metric in history), default=0))
    tags = {LINEAGE_TAG: lineage_id, STAGE_TAG: "train"}
    created = found.create_run(experiment, run_name=f"train {lineage_id}", tags=tags)
    log.info("train: MLflow run %s", created.info.run_id)
    return TrainingRun(found, created.info.run_id, 0)


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
            raise TransientError(f"MLflow did not answer: {error.message}", "check the MLflow server") from error


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
        raise TransientError(f"MLflow did not answer: {error.message}", "check the MLflow server") from error
