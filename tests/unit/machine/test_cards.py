"""Doctor on cards to work and to serve on, against each other and against what is there; no real GPU is asked."""

import json
import os

import pytest

from tasks.cli.main import cli
from tasks.core.errors import ConfigError
from tasks.core.gpus import Gpu
from tasks.core.guard import guarded
from tasks.machine.cards import check_slot_gpus, check_work_gpus


def cards(*free_gib):
    return [Gpu("NVIDIA A100-SXM4-80GB", 80.0, free, index, f"GPU-{index}") for index, free in enumerate(free_gib)]


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "TUNEGATE_WORK_GPUS", "TUNEGATE_SLOT_GPUS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("", "warning"),
        ("0,1,2,3|4,5,6,7", "ok"),
        ("0,1|2,3", "failed"),
        ("0,1,2,3|3,4,5,6", "failed"),
        ("0,1,2,3", "failed"),
        ("0,1,2,3|4,5,6,8", "failed"),
    ],
)
def test_slots_have_gpus_of_their_own(large, monkeypatch, value, outcome):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", value)
    (check,) = check_slot_gpus(large, cards(*[79.0] * 8))
    assert check.outcome == outcome
    if outcome != "ok":
        assert '"0,1,2,3|4,5,6,7"' in check.todo


@pytest.mark.parametrize(("value", "outcome"), [("", "ok"), ("0,1,2,3", "ok"), ("0,1", "failed"),
                                                ("0,1,2,3|4,5,6,7", "ok")])  # fmt: skip
def test_one_version_at_a_time_needs_one_group(large, monkeypatch, value, outcome):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", value)
    one = large.model_copy(update={"serve": large.serve.model_copy(update={"swap": "hold"})})
    (check,) = check_slot_gpus(one, cards(*[79.0] * 8))
    assert check.outcome == outcome


def test_a_slot_s_card_that_is_not_here_is_named(large, monkeypatch):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0,1,2,3|4,5,6,8")
    (check,) = check_slot_gpus(large, cards(*[79.0] * 8))
    assert check.found.endswith("not here: 8")


def test_cards_without_gpus_need_nothing(laptop):
    assert check_slot_gpus(laptop, []) == check_work_gpus(laptop, []) == check_work_gpus(laptop, cards(79.0)) == []


@pytest.mark.parametrize(
    ("work", "slots", "outcome"),
    [
        ("8,9,10,11", "0,1,2,3|4,5,6,7", "ok"),
        ("", "0,1,2,3|4,5,6,7", "ok"),
        ("", "", "warning"),
        ("0,1,2,3", "0,1,2,3|4,5,6,7", "failed"),
        ("8,9,10", "0,1,2,3|4,5,6,7", "failed"),
        ("8,9,10,12", "0,1,2,3|4,5,6,7", "failed"),
    ],
)
def test_work_and_slots_are_checked_against_each_other(large, monkeypatch, work, slots, outcome):
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", work)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", slots)
    (check,) = check_work_gpus(large, cards(*[79.0] * 12))
    assert check.outcome == outcome
    assert (check.todo == "") == (outcome == "ok")


def test_without_a_choice_doctor_gives_both_lines(large):
    (check,) = check_work_gpus(large, cards(*[79.0] * 12))
    assert check.todo == 'export TUNEGATE_WORK_GPUS="8,9,10,11" TUNEGATE_SLOT_GPUS="0,1,2,3|4,5,6,7"'


def test_work_on_an_idle_slot_s_cards_is_said(large, monkeypatch):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0,1,2,3|4,5,6,7")
    (check,) = check_work_gpus(large, cards(8, 8, 8, 8, 79, 79, 79, 79))
    assert (check.outcome, check.found) == ("warning", "4, 5, 6, 7, of which 4 of an idle slot")
    assert check.todo.endswith("add 4 GPU(s) to work on")


def test_work_with_every_card_serving_is_a_failure(large, monkeypatch):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0,1,2,3|4,5,6,7")
    (check,) = check_work_gpus(large, cards(*[8.0] * 8))
    assert check.outcome == "failed"
    assert "tunegate stop" in check.todo


def test_doctor_with_a_stand_in_nvidia_smi_refuses_a_card_of_both(project, stand_in_gpus, monkeypatch, capsys):
    stand_in_gpus(79, 79)
    profile = project.root / "infra" / "profiles" / "verify-7b.yaml"
    (project.root / "params.yaml").write_bytes(profile.read_bytes())
    monkeypatch.setattr("tasks.machine.network.check_services", lambda settings, project: [])
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", "1")
    assert guarded(lambda: cli(["doctor", "--json"], standalone_mode=False)) == 5
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["work GPUs"]["outcome"] == "failed"
    assert checks["slots' GPUs"]["outcome"] == "ok"
    assert "TUNEGATE_WORK_GPUS" in checks["work GPUs"]["todo"]


def test_a_bakeoff_s_servers_see_the_freest_of_the_stand_in_cards(project, stand_in_gpus, monkeypatch):
    stand_in_gpus(8, 79)
    seen = []

    def stand_in_bakeoff(candidates, settings, project, *, limit):
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        raise ConfigError("far enough")

    monkeypatch.setattr("tasks.evaluation.bakeoff.run_bakeoff", stand_in_bakeoff)
    assert guarded(lambda: cli(["models", "bakeoff", "a", "b"], standalone_mode=False)) == 2
    assert seen == ["1"]
