"""A change of champion is a journal: any end at any step is finished or taken back, once, under the right name."""

import json

import pytest

from tasks.core import tracking
from tasks.core.errors import ConfigError, GateFailedError, TransientError
from tasks.release import reconcile
from tasks.release import rollback as rollback_module
from tasks.release.history import ENTRY, append_event, read_history
from tasks.release.journal import Journal
from tasks.release.reconcile import MAX_ATTEMPTS, promote, reconcile_once
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.release.rollback import drill, rollback
from tasks.release.status import describe, serving_status


class Killed(BaseException):
    """Stands in for the end of the process."""


def end_at(monkeypatch, place, name):
    def ended(*given, **named):
        raise Killed

    monkeypatch.setattr(place, name, ended)


def agree(project, settings, registry, host, version):
    """Alias, history and serving say the same, and nothing is under way."""
    assert Journal(project).read() is None
    assert registry.champion().number == version
    assert read_history(registry)[-1].version == version
    assert host.live["version"] == version
    assert reconcile_once(project, settings)["action"] == "none"


def lost_at(monkeypatch, method):
    """Have MLflow's client find its server dead at one of its calls."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    def lost(*given, **named):
        raise MlflowException("API request failed with exception: connection refused")

    monkeypatch.setattr(MlflowClient, method, lost)


#: Where the command ends -> whether the switch had happened.
ENDS = {
    "before the start": ((reconcile, "_ensure_served"), False),
    "during the start": ((reconcile, "_deploy"), False),
    "after the switch": ((reconcile, "_finish"), True),
    "before the record": ((reconcile, "append_event"), True),
    "before the alias": ((Registry, "set_champion"), True),
}


@pytest.mark.parametrize(("place", "switched"), ENDS.values(), ids=ENDS)
def test_an_end_at_any_step_is_finished_or_taken_back(project, settings, registry, host, monkeypatch, place, switched):
    promote(project, settings, "1", by="王工", reason="首次")
    with monkeypatch.context() as patch:
        end_at(patch, *place)
        with pytest.raises(Killed):
            promote(project, settings, "2", by="李审", reason="第二版")
    intent = Journal(project).read()
    assert (intent.version, intent.by, intent.reason, intent.before) == ("2", "李审", "第二版", "1")
    assert "under way: promote of version 2 by 李审" in describe(serving_status(project, settings))
    reconcile_once(project, settings)
    agree(project, settings, registry, host, "2" if switched else "1")
    changes = [(event.kind, event.version, event.by, event.reason) for event in read_history(registry)]
    expected = [("promote", "1", "王工", "首次"), ("promote", "2", "李审", "第二版")]
    assert changes == (expected if switched else expected[:1])
    assert ("ended half-way" in registry.version("2").tags.get("tunegate.deploy_failed", "")) is not switched


@pytest.mark.slow
def test_a_dead_host_after_the_switch_is_finished_by_its_own_record(project, settings, registry, host, monkeypatch):
    promote(project, settings, "1", by="王工", reason="")
    with monkeypatch.context() as patch:
        end_at(patch, Journal, "reached")
        with pytest.raises(Killed):
            promote(project, settings, "2", by="李审", reason="")
    host.live = None
    reconcile_once(project, settings)
    agree(project, settings, registry, host, "2")


@pytest.mark.slow
def test_mlflow_lost_at_the_alias_is_made_up_for(project, settings, registry, host, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_champion", lambda *given: (_ for _ in ()).throw(TransientError("MLflow is away")))
        with pytest.raises(TransientError):
            promote(project, settings, "1", by="李审", reason="")
    assert registry.champion() is None
    reconcile_once(project, settings)
    agree(project, settings, registry, host, "1")
    assert len(read_history(registry)) == 1


@pytest.mark.slow
def test_mlflow_lost_after_the_switch_takes_nothing_back(project, settings, registry, host, monkeypatch):
    registry.tag("1", "deploy_failed", "内存不足")
    with monkeypatch.context() as patch:
        lost_at(patch, "delete_model_version_tag")
        with pytest.raises(TransientError, match="MLflow did not answer"):
            promote(project, settings, "1", by="李审", reason="")
    assert Journal(project).read().step == "switched"
    reconcile_once(project, settings)
    agree(project, settings, registry, host, "1")


@pytest.mark.slow
def test_mlflow_lost_while_a_version_fails_hides_no_reason(project, settings, registry, host, monkeypatch, caplog):
    host.fails_on = {"1"}
    lost_at(monkeypatch, "set_model_version_tag")
    with pytest.raises(TransientError, match="smoke test"):
        promote(project, settings, "1", by="李审", reason="")
    assert "not tagged with why it failed: MLflow did not answer" in caplog.text
    assert Journal(project).read() is None


@pytest.mark.slow
def test_the_next_promotion_settles_what_the_last_one_left(project, settings, registry, host, monkeypatch):
    with monkeypatch.context() as patch:
        end_at(patch, reconcile, "_finish")
        with pytest.raises(Killed):
            promote(project, settings, "1", by="王工", reason="")
    promote(project, settings, "2", by="李审", reason="")
    agree(project, settings, registry, host, "2")
    assert [event.version for event in read_history(registry)] == ["1", "2"]


@pytest.mark.slow
def test_a_start_that_is_still_under_way_is_left_alone(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    Journal(project).begin("promote", "2", "tg-2", by="李审", reason="", before="1")
    host.live |= {"deploying": "2"}
    assert reconcile_once(project, settings)["reason"] == "its promotion is under way"
    with pytest.raises(TransientError, match="version 2 is under way"):
        promote(project, settings, "3", by="王工", reason="")
    assert Journal(project).read().version == "2"


@pytest.mark.slow
def test_an_alias_moved_by_hand_is_held_to_the_champion_rules(project, settings, registry, host, monkeypatch):
    promote(project, settings, "1", by="王工", reason="")
    asked = []

    def worse(registry, settings, version, *, against=None):
        asked.append((version.number, against.number if against else None))
        return "it is worse than champion 1" if version.number == "2" else None

    monkeypatch.setattr(reconcile, "champion_refusal", worse)
    registry.set_champion("2")
    found = reconcile_once(project, settings)
    assert (found["action"], found["reason"]) == ("refused", "it is worse than champion 1")
    assert asked == [("2", "1")]
    assert host.live["version"] == "1"
    registry.set_champion("3")
    assert reconcile_once(project, settings)["action"] == "deployed"
    assert read_history(registry)[-1].by.startswith("not known")


@pytest.mark.slow
def test_rules_are_checked_under_the_lock(project, settings, registry, host, monkeypatch):
    held = []
    real = reconcile.refusal

    def seen(registry, version, params):
        monkeypatch.setattr(reconcile, "LOCK_WAIT_S", 0.0)
        with pytest.raises(TransientError, match="at work"), reconcile.exclusively_reconciling(project):
            held.append(False)
        held.append(True)
        return real(registry, version, params)

    monkeypatch.setattr(reconcile, "refusal", seen)
    promote(project, settings, "1", by="王工", reason="")
    assert held == [True]


def test_a_champion_that_will_not_start_is_not_tried_for_ever(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    registry.set_champion("2")
    host.fails_on = {"2"}
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(TransientError):
            reconcile_once(project, settings)
    found = reconcile_once(project, settings)
    assert found["action"] == "gave_up"
    assert "tunegate promote 2" in found["reason"]
    assert host.live["version"] == "1"
    host.fails_on = set()
    assert promote(project, settings, "2", by="王工", reason="修好了")["action"] == "deployed"
    assert "tunegate.deploy_attempts" not in registry.version("2").tags


@pytest.mark.slow
def test_a_version_the_host_has_given_up_is_not_asked_for_again(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    promote(project, settings, "2", by="王工", reason="")
    host.live |= {"version": "1", "wanted": "1", "given_up": {"2": "内存不足"}}
    found = reconcile_once(project, settings)
    assert found["action"] == "gave_up"
    assert "内存不足" in found["reason"]
    assert host.deployed == ["1", "2"]
    assert "given up: version 2" in describe(serving_status(project, settings))


@pytest.mark.slow
def test_a_host_that_recovers_by_itself_is_not_disturbed(project, settings, registry, host):
    promote(project, settings, "1", by="王工", reason="")
    host.live |= {"version": None, "healthy": False, "wanted": "1", "recovering": True}
    assert reconcile_once(project, settings)["action"] == "none"
    assert host.deployed == ["1"]


class TestRollback:
    @pytest.fixture
    def three(self, project, settings, registry, host):
        for number in ("1", "2", "3"):
            promote(project, settings, number, by="王工", reason="")

    def test_goes_further_back_where_the_first_target_fails(self, project, settings, registry, host, three):
        host.fails_on = {"2"}
        assert rollback(project, settings, by="李审", reason="")["version"] == "1"
        agree(project, settings, registry, host, "1")

    @pytest.mark.slow
    def test_where_none_comes_up_what_serves_goes_on(self, project, settings, registry, host, three):
        host.fails_on = {"1", "2"}
        with pytest.raises(TransientError, match="version 1"):
            rollback(project, settings, by="李审", reason="")
        agree(project, settings, registry, host, "3")

    @pytest.mark.slow
    def test_ends_a_load_under_way(self, project, settings, registry, host, three):
        rollback(project, settings, by="李审", reason="")
        assert host.aborted == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("forged", ["{", '{"sequence": 1}'])
    def test_one_damaged_entry_blocks_nothing(self, project, settings, registry, host, three, forged, caplog):
        registry.client.set_registered_model_tag(registry.name, f"{ENTRY}000001", forged)
        assert rollback(project, settings, by="李审", reason="")["version"] == "2"
        assert "000001" in caplog.text
        assert host.live["version"] == "2"
        tags = registry.client.get_registered_model(registry.name).tags
        assert json.loads(tags[f"{ENTRY}000004"])["kind"] == "rollback"

    @pytest.mark.slow
    def test_goes_on_without_mlflow_and_is_recorded_when_it_is_back(
        self, project, settings, registry, host, three, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(rollback_module, "Registry", lambda *given: (_ for _ in ()).throw(TransientError("away")))
            assert rollback(project, settings, by="李审", reason="夜里回退")["version"] == "2"
        assert host.live["version"] == "2"
        assert registry.champion().number == "3"
        reconcile_once(project, settings)
        agree(project, settings, registry, host, "2")
        last = read_history(registry)[-1]
        assert (last.kind, last.by, last.reason) == ("rollback", "李审", "夜里回退")

    @pytest.mark.slow
    def test_mlflow_lost_after_the_switch_does_not_go_back_twice(
        self, project, settings, registry, host, three, monkeypatch
    ):
        real, lost = Registry.set_champion, [TransientError("away for a moment")]

        def at_first(*given):
            if lost:
                raise lost.pop()
            real(*given)

        monkeypatch.setattr(Registry, "set_champion", at_first)
        assert rollback(project, settings, by="李审", reason="夜里回退")["version"] == "2"
        assert host.live["version"] == "2"
        reconcile_once(project, settings)
        agree(project, settings, registry, host, "2")

    @pytest.mark.slow
    def test_mlflow_lost_while_looking_for_the_target_is_mlflow_away(
        self, project, settings, registry, host, three, monkeypatch
    ):
        with monkeypatch.context() as patch:
            lost_at(patch, "get_registered_model")
            assert rollback(project, settings, by="李审", reason="")["version"] == "2"
        reconcile_once(project, settings)
        agree(project, settings, registry, host, "2")

    @pytest.mark.slow
    def test_mlflow_lost_while_the_target_is_read_is_mlflow_away(
        self, project, settings, registry, host, three, monkeypatch
    ):
        from mlflow.tracking import MlflowClient

        with monkeypatch.context() as patch:

            def lost_from_here(client, run_id):
                lost_at(patch, "search_experiments")
                lost_at(patch, "get_run")
                return MlflowClient.get_run(client, run_id)

            patch.setattr(MlflowClient, "get_run", lost_from_here)
            assert rollback(project, settings, by="李审", reason="")["version"] == "2"
        reconcile_once(project, settings)
        agree(project, settings, registry, host, "2")

    def test_a_drill_rehearses_the_target(self, project, settings, registry, host, three):
        assert drill(project, settings)["version"] == "2"
        host.fails_on = {"2"}
        with pytest.raises(TransientError, match="version 2"):
            drill(project, settings)
        weights = registry.weights(registry.version("2"))
        (weights / "config.json").write_text("{}")
        with pytest.raises(Exception, match=r"config\.json"):
            drill(project, settings)
        agree(project, settings, registry, host, "3")

    @pytest.mark.slow
    def test_a_drill_without_a_target(self, project, settings, registry, host):
        promote(project, settings, "1", by="王工", reason="")
        with pytest.raises(ConfigError, match="no earlier champion"):
            drill(project, settings)


@pytest.mark.slow
def test_a_refused_promotion_leaves_no_journal(project, settings, registry, host, run_stages):
    run_stages(project, "tg-4", verdict="FAIL")
    register(project, settings)
    with pytest.raises(GateFailedError):
        promote(project, settings, "4", by="王工", reason="")
    assert Journal(project).read() is None


@pytest.mark.slow
def test_the_history_goes_on_behind_entries_that_cannot_be_read(project, settings, registry):
    append_event(registry, "promote", "1", "王工", "")
    append_event(registry, "promote", "2", "王工", "")
    registry.client.set_registered_model_tag(registry.name, f"{ENTRY}000002", "not json")
    append_event(registry, "promote", "3", "李审", "")
    names = [name for name in tracking.find_registered_model(registry.client, registry.name).tags if ENTRY in name]
    assert sorted(names)[-1] == f"{ENTRY}000003"
