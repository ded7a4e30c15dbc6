"""The shipped pack: large enough, every row names its concept, every planted fault is caught, no evaluation leak."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.core.files import read_json, read_jsonl
from tasks.core.settings import load_settings
from tasks.data.matching.decontaminate import LeakFinder
from tasks.data.matching.eval_sets import read_eval_sets
from tasks.data.matching.normalization import normalize
from tasks.data.prepare import prepare
from tasks.data.privacy.desensitize import ALL_TYPES, find_spans
from tasks.data.reading.formats import parse

ROOT = Path(__file__).resolve().parents[3]
RAW = ROOT / "data" / "raw"
SETTINGS = load_settings(ROOT / "params.yaml")

#: Value of `planted` -> the fates its row may have.
CAUGHT = {
    "exact_duplicate": {("dropped", "exact_duplicate")},
    "near_duplicate": {("dropped", "near_duplicate")},
    "personal_data": {("kept", "personal_data_replaced")},
    "broken_roles": {("quarantined", "wrong_role_order"), ("quarantined", "unknown_role")},
    "empty_output": {("quarantined", "empty_turn"), ("quarantined", "reasoning_without_answer")},
    "unclosed_think": {("quarantined", "unclosed_think")},
    "mojibake": {("quarantined", "mojibake")},
    "eval_leak": {("dropped", "eval_leak")},
}
CONCEPTS = {
    "plan_zones",
    "emergency_classes",
    "action_levels",
    "ines",
    "sheltering",
    "evacuation",
    "iodine_thyroid_blocking",
    "food_control",
    "dose_units",
    "radiation_protection",
    "monitoring",
    "decontamination",
    "public_communication",
    "organisations",
    "standards",
    "emergency_workers",
    "medical_response",
    "recovery",
    "reactor_basics",
    "radionuclides",
}


def raw_rows() -> dict[tuple[str, int], dict[str, Any]]:
    """Return every shipped instruction row by source and index."""
    return {
        (path.relative_to(RAW).as_posix(), index): row
        for path in sorted((RAW / "instructions").glob("*.jsonl"))
        for index, row in enumerate(read_jsonl(path))
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The shipped pack, prepared with the shipped parameters."""
    output: Path = tmp_path_factory.mktemp("prepared")
    evaluate = SETTINGS.evaluate
    prepare(
        SETTINGS.prepare, output=output, raw=RAW, base=base, scratch=tmp_path_factory.mktemp("scratch"),
        train_max_length_tokens=SETTINGS.train.max_length_tokens,
        evaluate_exams=evaluate.exams, evaluate_domain=evaluate.domain,
    )  # fmt: skip
    return output


def test_every_planted_row_is_caught_for_its_reason(prepared: Path) -> None:
    ledger = {(entry["source"], entry["index"]): entry for entry in read_jsonl(prepared / "ledger.jsonl")}
    planted = {place: row["planted"] for place, row in raw_rows().items() if "planted" in row}
    assert set(planted.values()) == set(CAUGHT)
    for place, kind in planted.items():
        entry = ledger[place]
        if (notes := entry["evidence"].get("notes")) and kind == "broken_roles":
            # The user's last words alone are no broken order: the answered turns are kept.
            assert notes == ["the user's last turn has no answer and is left out"]
            continue
        assert (entry["fate"], entry["reason"]) in CAUGHT[kind], place
        assert kind != "personal_data" or entry["evidence"]["masks"]


def test_no_other_row_is_refused(prepared: Path) -> None:
    planted = {place for place, row in raw_rows().items() if "planted" in row}
    others = [
        entry for entry in read_jsonl(prepared / "ledger.jsonl") if (entry["source"], entry["index"]) not in planted
    ]
    assert {entry["reason"] for entry in others} == {"clean"}


def test_no_placeholder_is_left() -> None:
    assert "__EVAL_LEAK" not in json.dumps(list(raw_rows().values()))


def test_size_and_languages() -> None:
    good = [parse(row) for row in raw_rows().values() if "planted" not in row]
    languages = Counter(row.language for row in good)
    assert len(good) >= 600
    assert 0.6 <= languages["zh"] / len(good) <= 0.73
    assert set(Counter(row.format for row in good)) == {"alpaca", "sharegpt", "multilingual_thinking"}


def test_every_row_names_its_concept_and_backing() -> None:
    for place, row in raw_rows().items():
        assert row["concept"] in CONCEPTS, place
        assert row["source"].strip(), place


def test_no_two_good_rows_ask_the_same() -> None:
    good = [parse(row) for row in raw_rows().values() if "planted" not in row]
    asked = Counter(normalize(" ".join(m["content"] for m in row.messages if m["role"] == "user")) for row in good)
    assert [question for question, count in asked.items() if count > 1] == []


def test_evaluation_pack_counts() -> None:
    pack = read_json(RAW / "eval/domain/pack.json")
    items = {kind: list(read_jsonl(RAW / "eval/domain" / name)) for kind, name in pack["files"].items()}
    assert sum(len(found) for found in items.values()) >= 120
    assert len(items["safety"]) >= 30
    assert {item["lang"] for found in items.values() for item in found} == {"zh", "en"}
    subjects = {}
    for path in (RAW / "eval/ceval_mini/val").glob("*_val.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            subjects[path.stem] = len(list(csv.DictReader(stream)))
    assert sum(subjects.values()) >= 104
    assert len(subjects) == 52
    assert set(subjects.values()) == {2}


def test_evaluation_questions_never_stand_in_training(prepared: Path) -> None:
    items = read_eval_sets(SETTINGS.evaluate.exams, SETTINGS.evaluate.domain, ROOT)
    written = [row for name in ("train", "validation") for row in read_jsonl(prepared / f"{name}.jsonl")]
    said = [normalize(message["content"]) for row in written for message in row["messages"]]
    # Independently of the finder: no question stands verbatim in any turn.
    questions = {normalize(item.question) for item in items}
    assert [question for question in questions if any(question in text for text in said)] == []
    assert LeakFinder(items, SETTINGS.prepare.decontaminate).unsearchable == []


def test_no_personal_data_and_no_engineering_text_is_masked(prepared: Path) -> None:
    for name in ("train", "validation"):
        for row in read_jsonl(prepared / f"{name}.jsonl"):
            assert all(not find_spans(message["content"], ALL_TYPES) for message in row["messages"])
    planted = [row for row in raw_rows().values() if row.get("planted") == "personal_data"]
    replaced = [row for row in read_jsonl(prepared / "ledger.jsonl") if row["reason"] == "personal_data_replaced"]
    assert len(replaced) == len(planted)
