"""Marks: kept at once, the last counts, one file a reviewer, and none that does not fit its answer."""

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.review.marks import Mark, add_mark, marks_file, read_marks, require_reviewer
from tests.unit.review.conftest import mark_of


def test_the_last_mark_counts_and_reviewers_have_files_of_their_own(review, cards):
    add_mark(review, mark_of(cards[0], "expert-1", severity="minor"), cards)
    add_mark(review, mark_of(cards[0], "expert-2", comment="单位不对"), cards)
    add_mark(review, mark_of(cards[0], "expert-1", severity="dangerous"), cards)
    marks = read_marks(review, cards)
    assert marks["expert-1"][cards[0].card_id].severity == "dangerous"
    assert marks["expert-2"][cards[0].card_id].comment == "单位不对"
    assert len(marks_file(review, "expert-1").read_text("utf-8").splitlines()) == 2
    assert "单位不对" in marks_file(review, "expert-2").read_text("utf-8")


def with_points(cards):
    return next(card for card in cards if card.points)


def without(cards):
    return next(card for card in cards if not card.points)


PLANTED = {
    "a point too few": (lambda cards: mark_of(with_points(cards), "e", points=[]), "0 marks for"),
    "right beside points": (lambda cards: mark_of(with_points(cards), "e", right=True), "right by them"),
    "a word for a truth": (lambda cards: mark_of(without(cards), "e", right="yes"), "yes, no or left open"),
    "a severity of nobody's": (lambda cards: mark_of(without(cards), "e", severity="awful"), "severity is one of"),
    "a book": (lambda cards: mark_of(without(cards), "e", comment="字" * 8001), "more than 8000 characters"),
    "another review's answer": (lambda cards: Mark("c-0000000000000000", "e"), "no answer c-0000000000000000"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_mark_that_does_not_fit_is_not_kept(fault, review, cards):
    make, words = PLANTED[fault]
    with pytest.raises(DataContractError, match=words):
        add_mark(review, make(cards), cards)
    assert not marks_file(review, "e").exists()


@pytest.mark.parametrize("name", ["Zhang San", "张三", "../x", "", "a@b.cn"])
def test_a_reviewer_is_an_id(name):
    with pytest.raises(ConfigError, match="no id of a reviewer"):
        require_reviewer(name)


def test_a_line_in_another_reviewer_s_file_is_named(review, cards):
    add_mark(review, mark_of(cards[0], "expert-1"), cards)
    marks_file(review, "expert-1").rename(marks_file(review, "expert-2"))
    with pytest.raises(DataContractError, match=r"expert-2\.jsonl:1 is of expert-1"):
        read_marks(review, cards)


def test_a_line_that_is_no_mark_is_named(review, cards):
    add_mark(review, mark_of(cards[0], "expert-1"), cards)
    with marks_file(review, "expert-1").open("a") as stream:
        stream.write('{"card_id": "c-1", "grade": 5}\n')
    with pytest.raises(DataContractError, match=r"expert-1\.jsonl:2 is no mark"):
        read_marks(review, cards)
