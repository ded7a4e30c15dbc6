"""A small evaluated run over the demo pack's own items, and reviews of it."""

import json
from pathlib import Path

import pytest

from tasks.core.files import write_json, write_jsonl
from tasks.evaluation.pack.scoring import score_answer
from tasks.exams.pack.reading import load_pack
from tasks.exams.pack.schema import SUITES
from tasks.review.cards import read_cards, write_review
from tasks.review.marks import Mark, add_mark

ROOT = Path(__file__).parents[3]
ITEMS = 12
LINEAGE = {"base": None, "merged": "tg-bbbbbbbbbbbbbbbb", "awq": "tg-cccccccccccccccc"}


@pytest.fixture(scope="session")
def pack():
    return load_pack(ROOT / "data/raw/eval/domain")


def answer_of(hop, item, place):
    """What a hop says: the base nothing of use, merged the right thing every other time, awq mostly as merged."""
    right = item.get("reference") or item.get("safe_answer") or f"{item.get('value', '')} {item.get('unit', '')}"
    if hop == "base" or place % 2:
        return f"不清楚第{place}题。"
    return right if hop == "merged" or place % 4 else right[: len(right) // 2]


@pytest.fixture(scope="session")
def reports(pack, tmp_path_factory):
    """Folders of three hops' evaluations: the pack's first items, scored by the scorer itself."""
    root = tmp_path_factory.mktemp("eval")
    suites = [
        suite for suite in SUITES if suite.answer == "generation" and suite.kind in ("short", "refuse", "unknown")
    ]
    for hop, lineage in LINEAGE.items():
        rows = []
        for suite in suites:
            for place, item in enumerate(pack.items[suite.kind][:ITEMS]):
                value, detail = score_answer(item, answer_of(hop, item, place))
                rows.append({"suite": suite.name, "item_id": item["id"], "metric": suite.metric, "value": value,
                             "group": item["concept"], "detail": detail})  # fmt: skip
        # What is weighed and not written has nothing to read.
        rows.append({"suite": "domain_choice", "item_id": "choice-zh-001", "metric": "accuracy", "value": 1.0,
                     "group": "x", "detail": {"answer": "D", "chosen": "D"}})  # fmt: skip
        write_jsonl(root / hop / "samples.jsonl", rows)
        write_json(root / hop / "results.json", {"hop": hop, "model_lineage_id": lineage})
    # A hop that was asked no suite.
    write_jsonl(root / "adapter" / "samples.jsonl", [])
    write_json(root / "adapter" / "results.json", {"hop": "adapter", "model_lineage_id": "tg-aaaaaaaaaaaaaaaa"})
    return {hop: root / hop for hop in ("base", "adapter", "merged", "awq")}


@pytest.fixture
def review(reports, pack, tmp_path):
    folder = tmp_path / "data" / "reviews" / "first"
    write_review(folder, reports, pack, items=8, seed=7)
    return folder


@pytest.fixture
def cards(review):
    return read_cards(review)


def mark_of(card, reviewer, **changes):
    """A mark that says what the scorer says."""
    values = {
        "points": list(card.automatic["points"]) if card.points else [], "right": card.automatic["right"],
        "factual_error": False, "severity": "none",
    }  # fmt: skip
    return Mark(card.card_id, reviewer, **(values | changes))


@pytest.fixture
def mark_all(review, cards):
    """Let a reviewer mark every answer; `differ(place, card)` gives what is other than the scorer's."""

    def mark(reviewer, differ=lambda place, card: {}):
        for place, card in enumerate(sorted(cards, key=lambda card: card.card_id)):
            add_mark(review, mark_of(card, reviewer, **differ(place, card)), cards)

    return mark


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
