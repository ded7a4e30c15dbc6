"""Verdicts as rows: what becomes of each answer, and of each row in stage prepare's ledger."""

import pytest

from tasks.core.errors import ConfigError
from tasks.core.files import write_jsonl
from tasks.review.cards import Card
from tasks.review.rows import answered, marked_bad, preference, review_rows, write_rows
from tests.unit.data.conftest import base as base
from tests.unit.data.conftest import project as project
from tests.unit.review.conftest import mark_of

CARD = Card("c-1", "safety_unknown", "u-1", "zh", "邻厂的活度比是多少？", "约为十比一。", {}, [],
            {"points": [], "right": False}, ["awq"])  # fmt: skip
GOOD = {"right": True}
BAD = {"right": False, "factual_error": True, "severity": "dangerous"}


def became(*marks):
    given = {f"e-{n}": {"c-1": mark_of(CARD, f"e-{n}", **mark)} for n, mark in enumerate(marks)}
    rows, counts = review_rows([CARD], given)
    return rows, next(iter(counts))


@pytest.mark.parametrize(("marks", "what"), [
    ([], "unmarked"), ([GOOD], "good"), ([GOOD, GOOD], "good"), ([BAD], "bad"), ([BAD, BAD], "bad"),
    ([GOOD, BAD], "undecided"), ([{"right": None}], "undecided"), ([GOOD | {"severity": "minor"}], "undecided"),
    ([GOOD | {"factual_error": None}], "undecided"),
    ([BAD | {"corrected": "目前未公布。"}], "corrected"), ([BAD | {"corrected": "目前未公布。"}, BAD], "corrected"),
    ([BAD | {"corrected": "目前未公布。"}, BAD | {"corrected": "等通报。"}], "two_corrections"),
    ([BAD | {"corrected": "目前未公布。"}, GOOD], "undecided"),
])  # fmt: skip
def test_what_becomes_of_an_answer(marks, what):
    rows, found = became(*marks)
    assert found == what
    assert len(rows) == (what in ("good", "bad", "corrected"))


def test_an_answer_that_misses_a_key_point_is_not_taught():
    card = Card("c-1", "domain_keypoints", "s-1", "zh", "问", "答", {}, ["甲", "乙"],
                {"points": [True, True], "right": None}, ["awq"])  # fmt: skip
    for points, what in (([True, True], "good"), ([True, False], "undecided"), ([True, None], "undecided")):
        _, counts = review_rows([card], {"e": {"c-1": mark_of(card, "e", points=points)}})
        assert dict(counts) == {what: 1}


@pytest.mark.slow
def test_prepare_reads_them_and_its_ledger_says_what_became_of_each(project):
    asked = [{"role": "user", "content": "取水口的闸门什么时候关？"}]
    rows = [
        answered(asked, "检测到超标时立即关闭，并上报值班负责人。"),
        preference(
            [{"role": "user", "content": "巡测车回来先做什么？"}], "先在入口测表面污染，再清点。", "直接停进车库。"
        ),
        marked_bad([{"role": "user", "content": "剂量报警响了要不要理？"}], "不用理它。"),
        # A question that the pack asks: whoever is examined on it may not learn it.
        preference([{"role": "user", "content": "铯-137的半衰期是多少年？"}], "约30年。", "约3年。"),
    ]
    write_jsonl(project.raw / "instructions" / "reviewed.jsonl", rows)
    project.prepare()
    fates = {entry["line"]: (entry["fate"], entry["reason"]) for entry in project.lines("ledger.jsonl")}
    assert fates[1][0] == fates[2][0] == "kept"
    assert fates[3] == ("quarantined", "marked_bad")
    assert fates[4] == ("dropped", "eval_leak")
    kept = {row["messages"][0]["content"]: row for row in project.lines("train.jsonl")}
    assert kept["巡测车回来先做什么？"]["messages"][1]["content"] == "先在入口测表面污染，再清点。"
    assert "直接停进车库。" in str(kept["巡测车回来先做什么？"]["rejected"])
    assert "不用理它。" not in str(kept)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"a": 1}])
    with pytest.raises(ConfigError, match="is there already"):
        write_rows(tmp_path / "rows.jsonl", [{"a": 2}])
    assert write_rows(tmp_path / "rows.jsonl", [{"a": 2}], replace=True) == 1
