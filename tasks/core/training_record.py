"""What a training logs, wherever MLflow is meanwhile: kept in a file, sent to its run when MLflow answers."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tasks.core.errors import StoppedError, TransientError
from tasks.core.outbox import Outbox, Pace, Spool
from tasks.core.project import Project
from tasks.core.tracking import TrainingSender, flat, short_waits

#: How long a start waits for a `register` that is sending the same training's events.
SPOOL_WAIT_S = 30.0


class TrainingRun:
    """What the train stage logs; it reaches MLflow when MLflow answers.

    Args:
        outbox: where it is kept and sent from.
        sender: knows the run.
        last_step: last step that is logged already; a resumed training repeats steps bit for bit.
    """

    def __init__(self, outbox: Outbox, sender: TrainingSender, last_step: int) -> None:
        self.outbox, self.sender, self.last_step = outbox, sender, last_step

    @property
    def run_id(self) -> str | None:
        """The MLflow run; None as long as MLflow has not answered."""
        return self.sender.run_id

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become dotted names. Logging the same values again changes nothing."""
        self.outbox.add({"parameters": {key: str(value) for key, value in flat(values)}})

    def log_dataset(self, name: str, sha256: str, rows: int) -> None:
        """Log the rows trained on as the run's input, by digest; logged once."""
        self.outbox.add({"dataset": {"name": name, "sha256": sha256, "rows": rows}})

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of one step.

        Raises:
            ConfigError: MLflow refused what was logged before.
        """
        if step > self.last_step:
            self.outbox.add({"step": step, "metrics": dict(metrics), "time_ms": _now_ms()})


@contextmanager
def training_run(
    project: Project, lineage_id: str, pace: Pace | None = None, *, again: bool = False
) -> Iterator[TrainingRun]:
    """Give the MLflow run of this training: the unfinished one of the same lineage (it was killed), or a new one.

    Where MLflow does not answer, at the start or later, training goes on: what is logged waits in a file and is sent
    when it answers again, at the end, at the next start of the same training, or by `deliver_waiting`.

    Args:
        project: where the store is.
        lineage_id: tag by which every plane finds the run.
        pace: how often to send.
        again: whether there is a checkpoint to go on from: a run that finished then is this training's too, for its
            output was never recorded.

    Raises:
        ConfigError: MLflow refuses what is logged.
        TransientError: another process runs this training.
    """
    with short_waits():
        spool = Spool(_spool_path(project, lineage_id), SPOOL_WAIT_S)
        sender = TrainingSender(project, lineage_id, spool, again=again)
        outbox = _outbox(sender, pace or Pace())
        outbox.add({"status": "RUNNING", "time_ms": _now_ms()})
        # Once in this thread: what MLflow imports must not be imported beside torch.
        if outbox.deliver():
            deliver_waiting(project)
        logged = max((event["step"] for event in spool.events if "step" in event), default=0)
        run = TrainingRun(outbox, sender, max(logged, sender.last_step))
        outbox.start()
        try:
            yield run
        except BaseException as error:
            _end(outbox, "KILLED" if isinstance(error, StoppedError | KeyboardInterrupt) else "FAILED", wait=False)
            raise
        _end(outbox, "FINISHED", wait=True)


def _outbox(sender: TrainingSender, pace: Pace) -> Outbox:
    """Return the outbox of one training."""
    return Outbox(sender.spool, sender.send, f"MLflow at {sender.project.mlflow_uri}", pace)


def _end(outbox: Outbox, status: str, *, wait: bool) -> None:
    """Log how a training ended; a run that MLflow refuses is not asked again."""
    if outbox.refusal is None:
        outbox.add({"status": status, "time_ms": _now_ms()})
    outbox.close(wait=wait)


def deliver_waiting(project: Project) -> dict[str, str]:
    """Send what trainings logged while MLflow was away, and return lineage id -> why it still waits."""
    waiting = {}
    with short_waits():
        for path in sorted(_spool_path(project, "").parent.glob("*.jsonl")):
            lineage_id = unquote(path.stem)
            try:
                spool = Spool(path, 0.0)
            except TransientError:
                waiting[lineage_id] = "its training is still running"
                continue
            outbox = _outbox(TrainingSender(project, lineage_id, spool), Pace())
            if not outbox.close(wait=False):
                waiting[lineage_id] = str(outbox.why)
    return waiting


def _spool_path(project: Project, lineage_id: str) -> Path:
    """Return where a training's events wait."""
    return project.state / "tracking" / f"{quote(lineage_id, safe='')}.jsonl"


def _now_ms() -> int:
    """Return the time as MLflow counts it."""
    return int(time.time() * 1000)
