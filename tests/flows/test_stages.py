"""The adapter between Prefect and DVC: what DVC runs, what it says, and how a failure comes back."""

import logging
import os

import pytest
from prefect import flow, task
from prefect.states import Cancelled, Completed, Crashed, Failed, Running

from flows.environment import PREFECT
from flows.outcome import error_of
from flows.repro import run_through_dvc
from flows.stages import is_transient
from tasks.core import errors
from tasks.core.errors import ConfigError, DataContractError, GateFailedError, TransientError, TunegateError
from tasks.stages.failures import record_failure

log = logging.getLogger("test")
KINDS = ("ConfigError", "DataContractError", "GateFailedError", "MissingToolError", "TransientError")


def test_a_stage_that_succeeds_runs_once_and_is_then_unchanged(tiny_project, stage_called, caplog):
    caplog.set_level(logging.INFO, logger="test")
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert "正在整理数据" in caplog.messages
    assert not any(line.startswith("{") for line in caplog.messages)
    assert (tiny_project.root / "data/prepared/rows.txt").is_file()
    caplog.clear()
    run_through_dvc(stage_called("prepare"), tiny_project, log)
    assert caplog.messages == ["prepare: unchanged"]


@pytest.mark.parametrize("kind", [*KINDS[:2], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[2:])])
def test_a_refusal_comes_back_as_the_error_it_was(tiny_project, stage_called, kind):
    with pytest.raises(getattr(errors, kind), match="第三行不是 JSON") as caught:
        run_through_dvc(stage_called(kind), tiny_project, log)
    assert caught.value.hint == "mend line 3"


def test_a_killed_stage_is_no_refusal_and_says_what_it_said_last(tiny_project, stage_called):
    with pytest.raises(TunegateError, match="half way") as caught:
        run_through_dvc(stage_called("killed"), tiny_project, log)
    assert type(caught.value) is TunegateError
    assert not (tiny_project.root / "data/killed").exists()


@pytest.mark.slow
def test_an_old_refusal_is_not_taken_for_a_new_one(tiny_project, stage_called):
    record_failure(tiny_project, "killed", GateFailedError("yesterday's"))
    with pytest.raises(TunegateError, match="half way"):
        run_through_dvc(stage_called("killed"), tiny_project, log)


@pytest.mark.parametrize(
    ("error", "again"),
    [(TransientError("the server was lost"), True), (ConfigError("no"), False), (GateFailedError("no"), False),
     (ValueError("a bug"), False)],
)  # fmt: skip
def test_only_a_transient_error_may_be_tried_again(error, again):
    assert is_transient(None, None, Failed(data=error)) is again


def test_only_a_transient_error_may_be_tried_again_inside_an_event_loop():
    import asyncio

    async def ask() -> bool:
        return is_transient(None, None, Failed(data=TransientError("the server was lost")))

    assert asyncio.run(ask())


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        (Failed(message="Flow run encountered an exception: GateFailedError: 版本 3 未通过\n  next: tunegate status"),
         GateFailedError, "版本 3 未通过"),
        (Failed(message="Flow run encountered an exception: DataContractError: 第三行"), DataContractError, "第三行"),
        (Failed(message="Flow run encountered an exception: KeyError: 'x'"), TunegateError, "KeyError"),
        (Crashed(message="Flow run infrastructure exited with non-zero status code -9."), TransientError, "-9"),
        (Cancelled(), TunegateError, "Cancelled"),
        (Running(), TunegateError, "Running"),
        (None, TunegateError, "no state"),
    ],
)  # fmt: skip
def test_the_state_of_a_run_elsewhere_becomes_the_error_it_was(state, kind, message):
    error = error_of(state)
    assert type(error) is kind
    assert message in error.message
    assert "next:" not in error.message


def test_a_completed_run_is_no_error():
    assert error_of(Completed()) is None


@pytest.mark.slow
def test_prefect_retries_transient_errors_and_no_others():
    from prefect.testing.utilities import prefect_test_harness

    tries: list[str] = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_transient)
    def fail(kind: str) -> None:
        tries.append(kind)
        raise getattr(errors, kind)("lost")

    @flow
    def both(kind: str) -> None:
        fail(kind)

    # Prefect's own 30 s are too few for a temporary server on a busy machine: as long as our flows give it.
    with prefect_test_harness(server_startup_timeout=int(PREFECT["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])):
        for kind in ("TransientError", "ConfigError"):
            with pytest.raises(getattr(errors, kind)):
                both(kind)
    assert tries == ["TransientError"] * 3 + ["ConfigError"]


def test_a_fresh_clone_has_no_state_folder_yet_and_prefect_gets_its_home(tmp_path, monkeypatch):
    from flows.environment import prepare_environment
    from tasks.core.project import Project

    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("PREFECT_HOME", None)
    prepare_environment(Project(tmp_path / "克隆"))
    assert (tmp_path / "克隆" / ".tunegate" / "prefect").is_dir()
