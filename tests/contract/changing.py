"""A change of champion in a process of its own, which ends itself, or the MLflow server, at a step of the journal."""

import multiprocessing
import os
import signal
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.release import journal, reconcile, rollout
from tasks.release.registry import Registry
from tasks.release.rollback import rollback

PLACES = {
    "begin": (journal.Journal, "begin"), "deploy": (reconcile, "_deploy"), "switched": (journal.Journal, "reached"),
    "record": (reconcile, "append_event"), "alias": (Registry, "set_champion"), "end": (journal.Journal, "end"),
}  # fmt: skip
#: Steps of a change that goes through a rollout.
TRIAL_PLACES = {
    "begin": (journal.Journal, "begin"), "asked": (rollout, "begin"), "begun": (journal.Journal, "reached"),
}  # fmt: skip
#: Forked from a process that has imported all of it: forty times MLflow's imports would be most of the test.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "mlflow.tracking", "mlflow.store.tracking.rest_store"])


def start(step: str, kind: str, version: str, by: str, mlflow_pid: int) -> tuple[ForkServerProcess, Event]:
    """Start a change; return its process, and what says that it has begun.

    Args:
        step: where it ends itself (`record`), or the MLflow server (`mlflow at record`); any other word: nowhere.
        mlflow_pid: the server's process group.
    """
    ready = _FORKS.Event()
    process = _FORKS.Process(target=_change, args=(dict(os.environ), ready, step, kind, version, by, mlflow_pid))
    process.start()
    return process, ready


def _change(environment: dict, ready: Event, step: str, kind: str, version: str, by: str, mlflow_pid: int) -> None:
    os.environ.update(environment)
    os.setsid()
    # What a command that was killed half-way says is of no interest.
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    places = TRIAL_PLACES if kind == "canary" else PLACES
    if (name := step.removeprefix("mlflow at ")) in places:
        _plant(*places[name], os.getpid() if name == step else mlflow_pid)
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    ready.set()
    if kind == "rollback":
        rollback(project, settings, by=by, reason="回退")
    elif kind == "canary":
        reconcile.promote(project, settings, version, by=by, reason="试行", strategy="canary")
    else:
        reconcile.promote(project, settings, version, by=by, reason="上线")


def _plant(place: object, name: str, group: int) -> None:
    """Have a step of the journal kill a process group first."""
    real = getattr(place, name)

    def ends(*given: object, **named: object) -> object:
        os.killpg(group, signal.SIGKILL)
        return real(*given, **named)

    setattr(place, name, ends)
