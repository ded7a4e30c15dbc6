import contextlib
import logging
import signal
import sqlite3
import time

import pytest

from tasks.core.errors import ConfigError, TransientError
from tasks.core.outbox import Pace
from tasks.core.project import Project
from tasks.core.tracking import AWAY, EXPERIMENT, LINEAGE_TAG, TrainingSender, client
from tasks.core.training_record import deliver_waiting, training_run
from tests.contract.conftest import unused_ports
from tests.mlflow_server import MlflowServer

NOBODY = "http://127.0.0.1:9"
QUICK = Pace(send_every_s=0.2, longest_wait_s=0.5, last_tries_s=0.0)


def steps_of(found, run_id) -> list[int]:
    """Return the steps as logged, in the order of their time."""
    history = found.get_metric_history(run_id, "loss")
    return [metric.step for metric in sorted(history, key=lambda metric: (metric.timestamp, metric.step))]


def runs_of(project, lineage_id) -> list:
    found = client(project)
    experiment = found.get_experiment_by_name(EXPERIMENT).experiment_id
    return found.search_runs([experiment], f"tags.`{LINEAGE_TAG}` = '{lineage_id}'")


def spools(project) -> list:
    return list((project.state / "tracking").glob("*"))


def test_a_store_that_does_not_answer_is_transient_named_and_soon_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9 does not answer"):
        client(Project(tmp_path))
    assert time.monotonic() - started < 10


def test_artifacts_of_the_local_store_lie_in_local_state(project):
    with training_run(project, "tg-artifacts"):
        pass
    place = client(project).get_experiment_by_name(EXPERIMENT).artifact_location
    assert place == (project.state / "mlflow-artifacts").as_uri()


def test_a_finished_run_is_not_continued(project):
    with training_run(project, "tg-twice") as first:
        pass
    with training_run(project, "tg-twice") as second:
        pass
    assert first.run_id != second.run_id


def test_a_finished_run_whose_output_was_never_recorded_is_the_same_training(project):
    with training_run(project, "tg-again") as first:
        first.log_step(1, {"loss": 2.0})
    with training_run(project, "tg-again", again=True) as second:
        assert second.last_step == 1
    assert first.run_id == second.run_id
    found = client(project)
    assert found.get_run(first.run_id).info.status == "FINISHED"
    assert steps_of(found, first.run_id) == [1]


def test_a_killed_run_is_continued_and_repeated_steps_are_not_logged_twice(project):
    found = client(project)
    with training_run(project, "tg-killed") as first:
        first.log_params({"train": {"seed": 42}})
        for step in (1, 2, 3):
            first.log_step(step, {"loss": 4.0 - step})
    found.update_run(first.run_id, status="RUNNING")  # what kill -9 leaves behind
    with training_run(project, "tg-killed") as second:
        second.log_params({"train": {"seed": 42}})
        for step in (3, 4):
            second.log_step(step, {"loss": 4.0 - step})
    assert second.run_id == first.run_id
    assert steps_of(found, first.run_id) == [1, 2, 3, 4]
    assert found.get_run(first.run_id).info.status == "FINISHED"


def test_a_training_without_mlflow_is_in_it_when_it_is_back(project, monkeypatch):
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", NOBODY)
        for steps in ((1, 2, 3), (3, 4)):  # killed after its third step, resumed after its second
            with training_run(project, "tg-away", QUICK) as run:
                run.log_params({"train": {"seed": 42}})
                run.log_dataset("prepared/train.jsonl", "0" * 64, 20)
                for step in steps:
                    run.log_step(step, {"loss": 4.0 - step, "learning_rate": 0.1})
                assert run.run_id is None
    before = time.time() * 1000
    assert deliver_waiting(project) == {}
    [run] = runs_of(project, "tg-away")
    assert run.info.status == "FINISHED"
    assert run.info.start_time <= run.info.end_time <= before
    assert run.data.params == {"train.seed": "42"}
    assert len(client(project).get_run(run.info.run_id).inputs.dataset_inputs) == 1
    assert steps_of(client(project), run.info.run_id) == [1, 2, 3, 4]
    assert spools(project) == []


def test_an_answer_that_was_lost_logs_nothing_twice(project, monkeypatch):
    """The store has taken it, and its answer did not arrive."""
    from mlflow.exceptions import MlflowException

    send = TrainingSender._send
    lost = []

    def cut_off(self, events):
        send(self, events)
        if len(lost) < 2:
            lost.append(events)
            raise MlflowException("timeout")

    with training_run(project, "tg-lost", Pace(last_tries_s=5.0)) as run:
        monkeypatch.setattr(TrainingSender, "_send", cut_off)
        run.log_dataset("prepared/train.jsonl", "0" * 64, 20)
        for step in (1, 2, 3):
            run.log_step(step, {"loss": 4.0 - step})
    assert len(lost) == 2
    [found] = runs_of(project, "tg-lost")
    assert (steps_of(client(project), found.info.run_id), found.info.status) == ([1, 2, 3], "FINISHED")
    assert len(found.inputs.dataset_inputs) == 1


def test_a_run_deleted_in_mlflow_is_made_again_with_all_its_steps(project):
    with contextlib.suppress(KeyboardInterrupt), training_run(project, "tg-deleted", QUICK) as first:
        first.log_step(1, {"loss": 3.0})
        raise KeyboardInterrupt
    client(project).delete_run(first.run_id)
    with training_run(project, "tg-deleted", QUICK) as second:
        second.log_step(1, {"loss": 3.0})
    assert second.run_id != first.run_id
    assert steps_of(client(project), second.run_id) == [1]


def test_a_refusal_is_no_absence(project, caplog):
    """MLflow refuses to change a parameter: waiting for it would be for ever."""
    with training_run(project, "tg-refused", QUICK) as run:
        run.log_params({"seed": 42})
        run.outbox.deliver()
        run.log_params({"seed": 43})
        run.outbox.deliver()
        with pytest.raises(ConfigError, match="refuses"):
            run.log_step(1, {"loss": 3.0})
    assert "refuses" in deliver_waiting(project)["tg-refused"]
    for path in spools(project):
        path.unlink()


@pytest.mark.parametrize(("status", "away"), [(500, True), (502, True), (503, True), (504, True), (429, True),
                                              (400, False), (401, False), (403, False), (404, False)])  # fmt: skip
def test_what_a_proxy_answers_for_a_server_that_is_away(status, away):
    from mlflow.exceptions import MlflowException, get_error_code

    assert (MlflowException("", error_code=get_error_code(status)).error_code in AWAY) is away


@pytest.mark.slow
def test_a_locked_local_store_is_waited_for(project, caplog):
    with training_run(project, "tg-locked", QUICK) as run:
        run.log_step(1, {"loss": 3.0})
        run.outbox.deliver()
        with sqlite3.connect(project.state / "mlflow.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            run.log_step(2, {"loss": 2.0})
            assert not run.outbox.deliver()
            assert "locked" in run.outbox.why
            other.execute("ROLLBACK")
        other.close()
        run.log_step(3, {"loss": 1.0})
    assert steps_of(client(project), run.run_id) == [1, 2, 3]
    assert spools(project) == []


@pytest.mark.slow
def test_a_server_killed_hung_and_started_again_during_training(tmp_path, monkeypatch, caplog):
    """Away at the start, back in the middle, hung, killed, away at the end."""
    caplog.set_level(logging.INFO)
    server = MlflowServer(tmp_path / "server", unused_ports(1)[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    project, taken_s = Project(tmp_path), []

    def train_until(run, condition) -> None:
        """Log a step every 20 ms until a condition holds."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            started = time.monotonic()
            run.log_step(len(taken_s) + 1, {"loss": 1.0, "learning_rate": 0.1})
            taken_s.append(time.monotonic() - started)
            time.sleep(0.02)

    try:
        with training_run(project, "tg-night", QUICK) as run:
            run.log_params({"train": {"seed": 42}})
            train_until(run, lambda: len(taken_s) == 5)
            assert run.run_id is None
            server.start()
            train_until(run, lambda: run.run_id and run.outbox.why is None)
            server.signal(signal.SIGSTOP)
            train_until(run, lambda: run.outbox.why)
            server.signal(signal.SIGCONT)
            train_until(run, lambda: run.outbox.why is None)
            server.kill()
            train_until(run, lambda: run.outbox.why)
        assert len(spools(project)) == 1
        server.start()
        server.wait()
        assert deliver_waiting(project) == {}
        [found] = runs_of(project, "tg-night")
        assert found.info.run_id == run.run_id
        assert (found.info.status, found.data.params) == ("FINISHED", {"train.seed": "42"})
        for metric in ("loss", "learning_rate"):
            steps = [entry.step for entry in client(project).get_metric_history(run.run_id, metric)]
            assert sorted(steps) == list(range(1, len(taken_s) + 1))
        assert spools(project) == []
        # A step that had waited for the hung server would have taken three seconds.
        assert max(taken_s) < 1.5
        assert caplog.text.count("work goes on") == 3
    finally:
        server.kill()
