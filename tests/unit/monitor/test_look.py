"""One look: quiet where all is as released, an alarm for each part that is not, and what is done about it."""

import pytest

from tasks.core.files import read_json
from tasks.monitor.look import act, look
from tasks.serving.alarms import read_alarms
from tests.unit.monitor.test_questions import DISHES, DUTIES, PLACES, STEPS, questions

REFUSAL = "抱歉，我不能回答。"


def kinds(found) -> list[str]:
    return [alarm["kind"] for alarm in found["alarms"]]


def test_a_quiet_day(project, settings, released, callers):
    callers(questions(PLACES, DUTIES, 200, 5))
    found = look(project, settings)
    assert (found["version"], found["alarms"], found["notes"]) == ("1", [], [])
    assert {drift["name"] for drift in found["questions"]["drifts"]} == {"languages", "familiar", "length_zh"}
    assert found["answers"] == {
        "rows": 200, "refusals": 0, "unknowns": 0, "released_refusals": 0.05, "released_unknowns": 0.05
    }  # fmt: skip
    assert read_alarms(project) == []


def test_questions_of_another_topic_are_an_alarm(project, settings, released, callers):
    callers(questions(DISHES, STEPS, 200, 5))
    found = look(project, settings)
    assert kinds(found) == ["questions"]
    assert "familiar" in found["alarms"][0]["what"]
    (kept,) = read_alarms(project)
    assert (kept["version"], kept["what"]) == ("1", found["alarms"][0]["what"])


def test_refusals_beyond_the_evidence_are_an_alarm_and_a_few_are_none(project, settings, released, callers):
    callers(questions(PLACES, DUTIES, 200, 5), answers=("见应急规程。",) * 9 + (REFUSAL,))
    assert kinds(look(project, settings)) == []
    (path,) = (project.state / "audit").glob("*.jsonl")
    path.write_text(path.read_text("utf-8").replace("见应急规程。", REFUSAL, 60), "utf-8")
    found = look(project, settings)
    assert kinds(found) == ["answers"]
    assert "answers that refuse" in found["alarms"][0]["what"]


def test_another_model_behind_the_gateway_is_an_alarm(project, settings, released):
    released["canary"]["failures"].append("the capital of France")
    released["agreement"]["findings"].append("fingerprint 0.20")
    assert kinds(look(project, settings)) == ["released", "released"]


def test_too_few_questions_and_no_data_are_said(project, settings, released, callers):
    callers(questions(PLACES, DUTIES, 30, 5))
    notes = look(project, settings)["notes"]
    assert [note.partition(":")[0] for note in notes] == ["questions", "answers"]


def test_the_profile_of_a_version_outlives_its_data(project, settings, released, callers):
    callers(questions(PLACES, DUTIES, 200, 5))
    look(project, settings)
    kept = read_json(project.state / "monitor" / "questions-tg-1.json")
    assert kept["profile"]["rows"] == 150
    manifest = project.root / "data" / "prepared" / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace("tg-1", "tg-9"), "utf-8")
    assert look(project, settings)["notes"] == []
    (project.state / "monitor" / "questions-tg-1.json").unlink()
    assert "lineage VERSION --restore" in look(project, settings)["notes"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "goes_back"), [(["released"], True), (["questions"], False), ([], False)])
def test_going_back_is_for_the_kinds_that_settings_name(project, settings, released, monkeypatch, asked, goes_back):
    released["canary"]["failures"].append("the capital of France")
    monitor = settings.monitor.model_copy(update={"rollback_on": asked})
    settings = settings.model_copy(update={"monitor": monitor})
    calls = []
    monkeypatch.setattr("tasks.monitor.look.rollback", lambda *given, **more: calls.append(more) or {"version": "0"})
    outcome = act(project, settings, look(project, settings))
    assert (outcome is not None) is goes_back
    assert [call["by"] for call in calls] == ["tunegate monitor"] * goes_back
