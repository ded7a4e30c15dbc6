"""The experts' list: every safety item and every number of the pack, dangerous things first, the page as written."""

import re
from pathlib import Path

from tasks.exams.pack.reading import Pack
from tasks.review.facts import facts_of, page

ROOT = Path(__file__).parents[3]


def test_nothing_of_the_demo_pack_with_a_number_is_missing(pack):
    facts = {fact.item_id: fact for fact in facts_of(pack)}
    for kind in ("safety", "refuse", "unknown", "numeric", "order"):
        assert {item["id"] for item in pack.items[kind]} <= set(facts)
    short = next(item for item in pack.items["short"] if item["id"] == "short-zh-001")
    assert facts["short-zh-001"].held == short["reference"]
    assert "30～50 km" in facts["short-zh-001"].held
    without = [item["id"] for item in pack.items["short"] if not re.search(r"\d", str(item["key_points"]))]
    assert without
    assert not set(without) & set(facts)


def test_what_is_dangerous_comes_first(pack):
    parts = [fact.part for fact in facts_of(pack)]
    order = ["safety", "open", "numbers", "orders"]
    assert [part for place, part in enumerate(parts) if part not in parts[:place]] == order


def test_text_of_a_pack_stays_text():
    item = {"id": "s-1", "lang": "zh", "question": "<b>50 mSv</b>|还是*500*？\n第二行", "concept": "c",
            "source": "[x](y)", "safe_answer": "50 mSv", "unsafe_answer": "50 Sv"}  # fmt: skip
    text = page(Pack("p", "1", {"safety": [item]}))
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "\\|还是\\*500\\*？ 第二行" in text
    assert "[x](y)" not in text


def test_the_page_in_docs_is_what_the_command_writes(pack):
    assert (ROOT / "docs" / "facts.md").read_text("utf-8") == page(pack), "make docs"
