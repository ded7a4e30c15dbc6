"""A change of champion by share: begun once, recorded once with its evidence, or taken back; the host is a stand-in."""

import json

import pytest
from click.testing import CliRunner

from tasks.cli.canary import canary
from tasks.cli.release import promote as promote_command
from tasks.core.errors import ConfigError, TransientError
from tasks.release import reconcile
from tasks.release.canary import canary_status, end_by_hand
from tasks.release.golive import go_live
from tasks.release.history import read_history
from tasks.release.journal import Journal
from tasks.release.prune import prune
from tasks.release.reconcile import promote, reconcile_once
from tasks.release.registry import Registry
from tasks.release.rollback import rollback
from tasks.release.status import describe, serving_status
from tests.unit.release.test_journal import Killed, end_at


@pytest.fixture
def champion(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="首次")
    return host


def try_out(project, settings, version="2", strategy="canary"):
    return promote(project, settings, version, by="李审", reason="第二版", strategy=strategy)


@pytest.mark.slow
def test_begins_beside_the_champion_and_changes_nothing_else(project, settings, registry, champion):
    assert try_out(project, settings)["action"] == "rollout"
    intent = Journal(project).read()
    assert (intent.step, intent.strategy, intent.version) == ("rollout", "canary", "2")
    assert reconcile_once(project, settings)["reason"] == "its promotion is under way"
    assert (champion.live["version"], registry.champion().number) == ("1", "1")
    assert len(read_history(registry)) == 1
    words = describe(serving_status(project, settings))
    assert "trying:   canary of version 2 beside version 1: running, 1 % of the requests" in words
    with pytest.raises(TransientError, match="promotion of version 2 is under way"):
        promote(project, settings, "3", by="王工", reason="")


def test_what_the_host_let_through_becomes_champion_with_its_evidence(project, settings, registry, champion):
    try_out(project, settings)
    champion.ends("promoted", "every test passed")
    assert reconcile_once(project, settings)["action"] == "none"
    assert Journal(project).read() is None
    assert registry.champion().number == "2"
    event = read_history(registry)[-1]
    assert (event.version, event.by, event.kind) == ("2", "李审", "promote")
    assert event.reason.startswith("第二版 (canary: promoted, every test passed; 900 live and 300 candidate requests")
    assert json.loads(registry.version("2").tags["tunegate.rollout"])["arms"]["candidate"]["requests"] == 300
    reconcile_once(project, settings)
    assert len(read_history(registry)) == 2


@pytest.mark.parametrize(("phase", "why"), [
    ("aborted", "error went up: E 150, aborts at 120"),
    pytest.param("undecided", "not decided in 1 h", marks=pytest.mark.slow),
    pytest.param("ended", "the host ended in the middle", marks=pytest.mark.slow),
])  # fmt: skip
def test_what_the_host_took_back_is_taken_back_and_said_so(project, settings, registry, champion, phase, why):
    try_out(project, settings)
    champion.ends(phase, why)
    reconcile_once(project, settings)
    assert Journal(project).read() is None
    assert (registry.champion().number, champion.live["version"]) == ("1", "1")
    assert [event.version for event in read_history(registry)] == ["1"]
    assert "tunegate.deploy_failed" not in registry.version("2").tags
    assert f"canary {phase}: {why}" in describe(serving_status(project, settings))
    assert try_out(project, settings)["action"] == "rollout"


def test_a_host_that_is_gone_leaves_nothing_under_way(project, settings, registry, champion):
    try_out(project, settings)
    champion.live = None
    reconcile_once(project, settings)
    assert Journal(project).read() is None
    assert registry.champion().number == "1"
    assert "ended: the host ended in the middle" in describe(serving_status(project, settings))


#: Where the command ends -> whether the candidate has its share by then.
ENDS = {
    "before the start": ((reconcile, "_ensure_served"), False),
    "at the start": ((reconcile.rollout, "begin"), False),
    "before the journal knows": ((Journal, "reached"), True),
    "after it": ((reconcile, "lift_stop"), True),
}


@pytest.mark.slow
@pytest.mark.parametrize(("place", "begun"), ENDS.values(), ids=ENDS)
def test_a_command_that_ends_at_any_step_leaves_a_rollout_or_none(
    project, settings, registry, champion, monkeypatch, place, begun
):
    with monkeypatch.context() as patch:
        end_at(patch, *place)
        with pytest.raises(Killed):
            try_out(project, settings)
    reconcile_once(project, settings)
    intent = Journal(project).read()
    assert (intent is not None and intent.step == "rollout") is begun
    if begun:
        champion.ends("promoted", "every test passed")
        reconcile_once(project, settings)
    assert Journal(project).read() is None
    assert registry.champion().number == ("2" if begun else "1")


#: Where the reconcile that records the end is killed; the next one has to record it once.
RECORDS = {
    "at the record": (reconcile, "append_event"), "at the evidence": (reconcile.rollout, "keep_evidence"),
    "at the alias": (Registry, "set_champion"), "at the end": (Journal, "end"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", RECORDS.values(), ids=RECORDS)
def test_a_reconcile_that_ends_in_the_middle_is_finished_once(
    project, settings, registry, champion, monkeypatch, place
):
    try_out(project, settings)
    champion.ends("promoted", "every test passed")
    with monkeypatch.context() as patch:
        end_at(patch, *place)
        with pytest.raises(Killed):
            reconcile_once(project, settings)
    reconcile_once(project, settings)
    assert Journal(project).read() is None
    assert registry.champion().number == "2"
    assert [event.version for event in read_history(registry)] == ["1", "2"]


class TestByHand:
    def test_taken_back(self, project, settings, registry, champion):
        try_out(project, settings)
        state = end_by_hand(project, settings, "abort", by="王工", reason="不放心")
        assert (state["phase"], state["why"]) == ("aborted", "abort by 王工: 不放心")
        assert Journal(project).read() is None
        assert registry.champion().number == "1"

    @pytest.mark.slow
    def test_let_through(self, project, settings, registry, champion):
        try_out(project, settings)
        end_by_hand(project, settings, "promote", by="王工", reason="看过")
        assert registry.champion().number == "2"
        assert "promote by 王工: 看过" in read_history(registry)[-1].reason

    @pytest.mark.slow
    @pytest.mark.parametrize("end", ["abort", "promote"])
    def test_nothing_to_end(self, project, settings, registry, champion, end):
        with pytest.raises(ConfigError, match="no rollout is under way"):
            end_by_hand(project, settings, end, by="王工", reason="")
        assert canary_status(project) == {"phase": "none"}

    def test_the_commands(self, project, settings, registry, champion, monkeypatch):
        monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
        done = CliRunner().invoke(promote_command, ["2", "--strategy", "shadow"], catch_exceptions=False)
        assert "next: tunegate canary status" in done.output
        shown = CliRunner().invoke(canary, ["status"], catch_exceptions=False).output
        assert "shadow of version 2 beside version 1: running, mirrored, answers unseen" in shown
        ended = CliRunner().invoke(canary, ["abort", "--reason", "不放心", "--json"], catch_exceptions=False)
        assert json.loads(ended.stdout)["why"] == "abort by 王工: 不放心"


@pytest.mark.slow
def test_a_rollback_ends_what_is_tried(project, settings, registry, champion):
    promote(project, settings, "2", by="王工", reason="")
    try_out(project, settings, "3")
    assert rollback(project, settings, by="王工", reason="回退")["version"] == "1"
    assert champion.live["rollout"] is None
    assert registry.champion().number == champion.live["version"] == "1"


def test_a_rollback_after_a_silent_end_goes_back_to_what_was_before(project, settings, registry, champion):
    promote(project, settings, "2", by="王工", reason="")
    try_out(project, settings, "3")
    champion.ends("promoted", "every test passed")
    assert rollback(project, settings, by="王工", reason="回退")["version"] == "2"
    assert [event.version for event in read_history(registry)] == ["1", "2", "3", "2"]


@pytest.mark.slow
class TestUsualStrategy:
    def test_holds_where_something_is_live(self, project, settings, registry, champion, with_promote):
        careful = with_promote(settings, strategy="canary")
        assert promote(project, careful, "2", by="王工", reason="")["action"] == "rollout"

    def test_the_first_version_has_nothing_to_be_compared_with(self, project, settings, registry, host, with_promote):
        careful = with_promote(settings, strategy="canary")
        assert promote(project, careful, "1", by="王工", reason="")["action"] == "deployed"

    def test_a_run_says_that_its_version_is_on_trial(
        self, project, settings, registry, champion, with_promote, monkeypatch
    ):
        monkeypatch.setattr("tasks.release.golive.ask", lambda *given, **named: [])
        careful = with_promote(settings, strategy="canary")
        found = go_live(project, careful, "2", keep_serving=True, report=lambda *given: None)
        assert found["outcome"].startswith("version 2: canary has begun")


@pytest.mark.slow
def test_what_is_tried_keeps_its_weights(project, settings, registry, champion):
    try_out(project, settings)
    assert prune(project, registry, keep=1, dry_run=True)["kept"]["2"] == "it is being tried"
