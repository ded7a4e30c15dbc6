"""What a person stopped, no schedule starts again; a person does."""

import pytest

from tasks.cli.serve import _EndedFromOutsideError, serve, stop
from tasks.release.golive import go_live
from tasks.release.reconcile import promote, reconcile_once
from tasks.release.register import register
from tasks.release.status import describe, serving_status
from tasks.serving.stopped import lift_stop, record_stop, stopped


@pytest.fixture
def champion(project, settings, run_stages, host):
    for lineage_id in ("tg-1", "tg-2"):
        run_stages(project, lineage_id)
        register(project, settings)
    promote(project, settings, "1", by="王工", reason="首次上线")
    return host


def test_a_scheduled_look_starts_what_crashed_and_not_what_was_stopped(project, settings, champion):
    champion.stop_host(project)
    assert reconcile_once(project, settings)["action"] == "deployed"
    champion.stop_host(project)
    record_stop(project, "李审")
    found = reconcile_once(project, settings)
    assert (found["action"], found["version"]) == ("none", "1")
    assert "stopped by 李审 at " in found["reason"]
    assert "tunegate serve starts it" in found["reason"]
    assert champion.live is None
    assert "serving:  nothing (stopped by 李审 at " in describe(serving_status(project, settings))
    lift_stop(project)
    assert reconcile_once(project, settings)["action"] == "deployed"


def test_a_nightly_run_does_not_serve_what_was_stopped(project, settings, champion):
    champion.stop_host(project)
    record_stop(project, "李审")
    outcome = go_live(project, settings, "2", keep_serving=True, report=print)
    assert "version 2 waits: serving was stopped by 李审" in outcome["outcome"]
    assert champion.live is None
    assert champion.deployed == ["1"]


def test_a_promotion_by_a_person_lifts_the_wish(project, settings, champion):
    champion.stop_host(project)
    record_stop(project, "李审")
    promote(project, settings, "2", by="王工", reason="继续")
    assert stopped(project) is None
    assert champion.live["version"] == "2"


def test_a_run_that_serves_for_a_moment_leaves_the_wish(project, settings, champion, monkeypatch):
    champion.stop_host(project)
    record_stop(project, "李审")
    monkeypatch.setattr("tasks.release.golive.ask", lambda *_, **__: [])
    go_live(project, settings, "2", keep_serving=False, report=lambda *_: None)
    assert champion.deployed == ["1", "2"]
    assert champion.live is None
    assert stopped(project).by == "李审"


def test_tunegate_stop_records_who_stopped_even_where_nothing_runs(project, monkeypatch, capsys):
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    stop(standalone_mode=False, args=[])
    assert capsys.readouterr().out == "nothing was running\n"
    assert stopped(project).by == "王工"


@pytest.mark.parametrize(("end", "stays"), [(KeyboardInterrupt, True), (_EndedFromOutsideError, False)])
def test_ctrl_c_is_a_wish_and_a_reboot_is_none(project, settings, monkeypatch, end, stays):
    def ended(*_):
        assert stopped(project) is None, "tunegate serve lifts an earlier wish"
        raise end

    record_stop(project, "李审")
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    monkeypatch.setattr("tasks.cli.serve._keep_serving", ended)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    serve(standalone_mode=False, args=[])
    assert (stopped(project) is not None) is stays
