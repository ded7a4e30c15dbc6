"""A candidate against the present champion, in a real MLflow store: compared at registration and at promotion."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import GateFailedError
from tasks.core.files import read_json, write_json
from tasks.core.layout import AWQ, report_of
from tasks.core.manifest import write_manifest
from tasks.gate.evidence import read_report
from tasks.gate.explain import explanation
from tasks.release.champion import champion_refusal, compare
from tasks.release.golive import go_live
from tasks.release.reconcile import promote
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.release.rollback import rollback
from tasks.release.verdicts import verdict_of
from tests.unit.made_run import run, settings

__all__ = ["run", "settings"]


@pytest.fixture
def make_version(project: Any, settings: Any, run: Any, run_stages: Any) -> Any:
    """Return a maker of registered versions whose quantized model needs `worse` more bits per byte."""

    source, rows = read_json(run.report("awq") / "results.json"), run.samples("awq")

    def make(number: int, worse: float = 0.0, **suite_changes: Any) -> str:
        run_stages(project, f"tg-{number}")
        folder = project.root / report_of("awq")
        lines = [row | {"value": row["value"] + worse * (row["metric"] == "bits_per_byte")} for row in rows]
        (folder / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines), encoding="utf-8")
        results = read_json(folder / "results.json") | {
            name: facts for name, facts in copy.deepcopy(source).items() if name != "model"
        }
        for facts in results["suites"].values():
            facts |= suite_changes
        write_json(folder / "results.json", results)
        write_manifest(folder, {"stage": AWQ, "lineage_id": f"tg-{number}", "parts": {}})
        return str(register(project, settings).number)

    return make


def kept(project: Any, settings: Any, number: str) -> dict[str, Any]:
    """Return the comparison that was kept with a version."""
    found: dict[str, Any] = verdict_of(project, settings, number)["champion_comparison"]
    return found


@pytest.mark.slow
def test_the_first_version_has_nobody_to_be_compared_with(project: Any, settings: Any, make_version: Any) -> None:
    number = make_version(1)
    comparison = kept(project, settings, number)
    assert (comparison["verdict"], comparison["champion"]) == ("none", None)
    registry = Registry(project, settings.register_.model_name)
    assert registry.version(number).tags["tunegate.champion_comparison"] == "none"
    assert "compared with no champion" in explanation_of(project, settings, number)


def explanation_of(project: Any, settings: Any, number: str) -> str:
    """Return what `tunegate gate explain` says; the stand-in verdict of these versions has no rules."""
    words = {"summary_words": "PASS.", "checks": [], "rules": []}
    return explanation(words | verdict_of(project, settings, number))


@pytest.mark.slow
def test_an_equal_candidate_passes(project: Any, settings: Any, host: Any, make_version: Any) -> None:
    promote(project, settings, make_version(1), by="王工", reason="first")
    comparison = kept(project, settings, make_version(2, worse=0.01))
    assert (comparison["verdict"], comparison["champion"]) == ("PASS", "1")
    promote(project, settings, "2", by="王工", reason="as good")


@pytest.mark.slow
def test_a_worse_candidate_is_refused_and_the_champion_serves_on(
    project: Any, settings: Any, host: Any, make_version: Any
) -> None:
    promote(project, settings, make_version(1), by="王工", reason="first")
    number = make_version(2, worse=0.5)
    assert kept(project, settings, number)["verdict"] == "FAIL"
    with pytest.raises(GateFailedError, match="worse than champion 1: Asked: awq loses less than") as raised:
        promote(project, settings, number, by="王工", reason="hurry")
    assert raised.value.hint == f"tunegate gate explain {number}"
    assert host.live["version"] == "1"
    said = explanation_of(project, settings, number)
    assert "Against champion 1: FAIL" in said
    assert "rule champion_domain: FAIL, champion -> awq" in said
    outcome = go_live(project, settings, number, keep_serving=True, report=print)
    assert "waits: it is worse than champion 1" in outcome["outcome"]


def test_the_champion_of_the_day_decides_not_the_one_at_registration(
    project: Any, settings: Any, host: Any, make_version: Any
) -> None:
    numbers = [make_version(1, worse=0.5), make_version(2), make_version(3, worse=0.3)]
    promote(project, settings, numbers[0], by="王工", reason="first")
    assert champion_refusal(*sides(project, settings, numbers[2])) is None
    promote(project, settings, numbers[1], by="王工", reason="better")
    assert "worse than champion 2" in str(champion_refusal(*sides(project, settings, numbers[2])))


def sides(project: Any, settings: Any, number: str) -> tuple[Any, Any, Any]:
    registry = Registry(project, settings.register_.model_name)
    return registry, settings, registry.version(number)


def test_a_rollback_is_not_held_to_what_it_replaces(project: Any, settings: Any, host: Any, make_version: Any) -> None:
    promote(project, settings, make_version(1, worse=0.5), by="王工", reason="first")
    promote(project, settings, make_version(2), by="王工", reason="better on paper")
    assert rollback(project, settings, by="王工", reason="callers complain")["version"] == "1"


@pytest.mark.slow
def test_other_prompts_are_not_compared(project: Any, settings: Any, host: Any, make_version: Any) -> None:
    promote(project, settings, make_version(1), by="王工", reason="first")
    comparison = kept(project, settings, make_version(2, worse=0.5, task_version=3))
    assert comparison["verdict"] == "INCONCLUSIVE"  # nothing that blocks could be asked: the notes say why
    assert any("asked in another way (task_version)" in note for note in comparison["notes"])
    assert all(rule["outcome"] == "INCONCLUSIVE" for rule in comparison["rules"])


def test_only_items_both_were_asked_count(run: Any) -> None:
    rows = run.samples("awq")
    champion = read_report("awq", run.report("awq"))
    run.rewrite("awq", [row for row in rows if row["item_id"] not in ("safety-001", "safety-002")])
    candidate = read_report("awq", run.report("awq"))
    rules, notes = compare(run.settings.gate, candidate=candidate, champion=champion)
    assert "safety: 0 items only of the candidate, 2 only of the champion left out" in notes
    assert next(rule for rule in rules if rule["metric"] == "safety_accuracy")["n"] == 42


@pytest.mark.slow
def test_evidence_that_cannot_be_read_shows_nothing(
    project: Any, settings: Any, host: Any, make_version: Any, run_stages: Any, tmp_path: Path
) -> None:
    run_stages(project, "tg-old")  # a version from before: no items in its reports
    promote(project, settings, str(register(project, settings).number), by="王工", reason="old")
    comparison = kept(project, settings, make_version(2, worse=9.0))
    assert comparison["verdict"] == "INCONCLUSIVE"
    assert "could not be read" in comparison["notes"][0]
