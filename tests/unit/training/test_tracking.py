import pytest

from tasks.core.errors import TransientError
from tasks.core.project import Project
from tasks.core.tracking import EXPERIMENT, client, training_run


def test_a_store_that_does_not_answer_is_transient_and_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9 does not answer"):
        client(Project(tmp_path))


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
    assert [metric.step for metric in found.get_metric_history(first.run_id, "loss")] == [1, 2, 3, 4]
    assert found.get_run(first.run_id).info.status == "FINISHED"
