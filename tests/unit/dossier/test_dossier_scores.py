"""Scores of the dossier: exams by subject, concepts, languages, safety; the pictures say what the numbers say."""

import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.core.files import read_json, read_jsonl
from tasks.core.layout import HOPS
from tasks.dossier.format import change_words, value_words
from tasks.dossier.plots import EDGE_PERCENT, dots, scale_of, wilson
from tasks.dossier.safety import SHOWN_CHARACTERS, safety_facts
from tasks.dossier.scores import concept_facts, exam_facts, language_facts


@pytest.fixture
def results(run: Any) -> dict[str, Any]:
    return {hop: read_json(run.report(hop) / "results.json") for hop in HOPS}


@pytest.fixture
def samples(run: Any) -> dict[str, list[dict[str, Any]]]:
    return {hop: run.samples(hop) for hop in HOPS}


def place(drawn: str, kind: str) -> float:
    """Return where a dot stands, in per cent of the row."""
    return float(re.search(rf'class="{kind}" cx="([\d.]+)%"', drawn)[1])


def test_every_subject_of_an_exam_stands_in_its_category(results: dict[str, Any]) -> None:
    [exam] = exam_facts(results)
    assert [group["words"][0] for group in exam["groups"]] == ["STEM", "Social Science", "Humanities", "Other"]
    assert [len(group["subjects"]) for group in exam["groups"]] == [20, 10, 11, 11]
    told = {row["words"][1]: row["hops"]["awq"] for group in exam["groups"] for row in group["subjects"]}
    subjects = results["awq"]["exams"][0]["subjects"].values()
    assert told == {facts["name_zh"]: facts["accuracy"] for facts in subjects}
    for group in exam["groups"]:
        after = [row["hops"]["awq"] for row in group["subjects"]]
        assert after == sorted(after, reverse=True)
    assert exam["hops"] == ["base", "merged", "awq"]
    assert exam["least"] == 2


def test_an_exam_that_one_hop_was_not_asked_is_shown_for_the_rest(results: dict[str, Any]) -> None:
    results["base"]["exams"] = []
    [exam] = exam_facts(results)
    assert exam["hops"] == ["merged", "awq"]
    assert 'class="before"' not in exam["groups"][0]["picture"]


def test_a_category_of_another_exam_comes_last(results: dict[str, Any]) -> None:
    for hop in ("base", "merged", "awq"):
        categories = results[hop]["exams"][0]["categories"]
        categories["A new one"] = categories.pop("STEM")
    [exam] = exam_facts(results)
    assert exam["groups"][-1]["words"] == ("A new one", "")


def test_concepts_are_means_of_their_items_weakest_first(samples: dict[str, Any]) -> None:
    facts = concept_facts(samples)
    assert [len(facts["points"]), len(facts["bits"])] == [6, 6]
    points = [row["hops"]["awq"] for row in facts["points"]]
    bits = [row["hops"]["awq"] for row in facts["bits"]]
    assert points == sorted(points)
    assert bits == sorted(bits, reverse=True)
    row = next(row for row in facts["points"] if row["words"] == ("sheltering", "隐蔽"))
    values = [item["value"] for item in samples["awq"]
              if item["detail"].get("concept") == "sheltering" and item["metric"] != "bits_per_byte"]  # fmt: skip
    assert row["items"] == len(values)
    assert row["hops"]["awq"] == pytest.approx(sum(values) / len(values))
    assert place(facts["bits"][0]["picture"], "after") > place(facts["bits"][0]["picture"], "before")


def test_items_without_a_concept_or_a_number_are_left_out() -> None:
    item = {"suite": "x", "item_id": "1", "metric": "accuracy"}
    rows = [
        {**item, "value": 1.0, "detail": {"lang": "zh"}},
        {**item, "value": math.nan, "detail": {"concept": "ines"}},
    ]
    assert concept_facts({"base": rows, "awq": rows}) == {"points": [], "bits": []}


def test_languages_are_counted_apart(samples: dict[str, Any]) -> None:
    hops = [{"suite": "domain_short", "kind": "bits_per_byte"}, {"suite": "none", "kind": "accuracy"}]
    [row] = language_facts(samples, hops)
    assert {name: found["items"] for name, found in row["languages"].items()} == {"zh": 64, "en": 32}


def test_safety_counts_every_item_once_and_shows_the_answers(run: Any, samples: dict[str, Any]) -> None:
    facts = safety_facts(samples, run.root / "data/prepared")
    assert facts["items"] == sum(row["items"] for row in facts["hazards"]) == 44 + 24 + 24
    wrong = {row["item_id"] for row in samples["awq"] if row["suite"].startswith("safety") and row["value"] != 1}
    assert {row["item_id"] for row in facts["failed"]} == wrong
    questions = {row["item_id"]: row["question"] for row in read_jsonl(run.root / "data/prepared/eval_questions.jsonl")}
    for row in facts["failed"]:
        assert row["question"] == questions[row["item_id"]]
        assert (row["answer"] is None) == (row["suite"] == "safety")
    [numbers] = facts["numeric"]
    assert numbers["failure"] == "off_by_1000"
    assert set(numbers["hops"]) == {"base", "merged", "awq"}


def test_a_long_answer_is_cut_and_says_so(run: Any, samples: dict[str, Any]) -> None:
    row = next(row for row in samples["awq"] if row["suite"] == "safety_refuse" and row["value"] != 1)
    row["detail"] |= {"text": "长" * (SHOWN_CHARACTERS + 7), "forbidden": ["打开阀门"], "failure": "something_new"}
    found = next(item for item in safety_facts(samples, run.root / "data/prepared")["failed"]
                 if item["item_id"] == row["item_id"])  # fmt: skip
    assert found["answer"].endswith("… (+7)")
    assert found["forbidden"] == ["打开阀门"]
    assert found["failure"] == ("something new", "")


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(NUMBERS, NUMBERS, st.booleans())
@example(0.0, 1.6959369196814301e308, False)
def test_any_dots_stay_in_their_row(before: float | None, after: float | None, turned: bool) -> None:
    drawn = dots(before, after, scale_of([before, after]), better_is_left=turned)
    assert not re.search(r"nan|inf", drawn)
    for found in re.findall(r'cx="([\d.-]+)%"', drawn):
        assert EDGE_PERCENT <= float(found) <= 100 - EDGE_PERCENT


@given(st.integers(1, 2000), st.floats(0, 1))
def test_an_interval_of_a_share_holds_it(items: int, share: float) -> None:
    low, high = wilson(share, items)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


def test_the_interval_is_wilsons() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I: 81 of 263.
    low, high = wilson(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0.5, 0) is None


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(0.6154, "accuracy", "61.5 %"), (0.5, "whole", "50 %"), (1.8237, "bits_per_byte", "1.824"),
     (None, "accuracy", "–"), (math.nan, "bits_per_byte", "–")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value: float | None, kind: str, words: str) -> None:
    assert value_words(value, kind).replace("\u00a0", " ") == words


def test_a_change_has_one_unit() -> None:
    assert change_words(0.25, 0.298, "accuracy") == "25.0 → 29.8\u00a0%"
    assert change_words(None, 0.298, "accuracy") == "– → 29.8\u00a0%"
    assert change_words(2.2268, 1.8488, "bits_per_byte") == "2.227 → 1.849"
