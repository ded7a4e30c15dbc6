"""What is drawn: the same items of every hop, equal answers once, hops nowhere on the card's face, seeded."""

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_jsonl
from tasks.review.cards import CARDS, draw, read_cards, require_name, write_review
from tests.unit.review.conftest import lines


def test_the_same_items_of_every_hop_and_equal_answers_once(cards, reports):
    by_item = {}
    for card in cards:
        by_item.setdefault((card.suite, card.item_id), []).append(card)
    assert len(by_item) == 3 * 8
    for answers in by_item.values():
        hops = [hop for card in answers for hop in card.hops]
        assert sorted(hops) == ["awq", "base", "merged"]
        assert len({card.answer for card in answers}) == len(answers)
    assert any(card.hops == ["awq", "merged"] for card in cards)
    assert {card.suite for card in cards} == {"domain_keypoints", "safety_refuse", "safety_unknown"}


def test_a_card_says_what_the_hop_wrote_and_what_the_scorer_said(cards, reports):
    for card in cards:
        for hop in card.hops:
            row = next(row for row in lines(reports[hop] / "samples.jsonl")
                       if (row["suite"], row["item_id"]) == (card.suite, card.item_id))  # fmt: skip
            assert row["detail"]["text"] == card.answer
            if card.points:
                assert row["detail"]["points"] == card.automatic["points"]
                assert len(card.points) == len(card.automatic["points"])
            else:
                assert card.automatic["right"] == (row["value"] == 1.0)


def test_a_seed_gives_the_same_draw_and_another_one_another(reports, pack):
    first, again, other = (draw(reports, pack, items=4, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {card.item_id for card in first} != {card.item_id for card in other}
    # Hops do not stand in blocks: their order is that of a digest.
    assert [card.hops for card in first] != sorted(card.hops for card in first)


def test_what_was_read_is_on_record(review, reports):
    about = read_json(review / "review.json")
    assert about["lineages"]["awq"] == "tg-cccccccccccccccc"
    assert set(about["samples_sha256"]) == {"base", "merged", "awq"}


def test_a_review_is_not_drawn_over(review, reports, pack):
    with pytest.raises(ConfigError, match="there is a review first already"):
        write_review(review, reports, pack, items=8, seed=8)


@pytest.mark.parametrize("name", ["First", "../first", "", "a" * 33, "专家"])
def test_names_that_are_none(name):
    with pytest.raises(ConfigError, match="no name of a review"):
        require_name(name)


def test_a_changed_card_is_found(review):
    text = (review / CARDS).read_text("utf-8")
    (review / CARDS).write_text(text.replace("不清楚", "很清楚", 1), "utf-8")
    with pytest.raises(DataContractError, match="is not what was drawn"):
        read_cards(review)


def test_an_item_that_left_the_pack_is_named(reports, pack, tmp_path):
    gone = {"suite": "safety_refuse", "item_id": "refuse-gone", "value": 0.0, "detail": {"text": "不。"}}
    write_jsonl(tmp_path / "samples.jsonl", [gone])
    with pytest.raises(DataContractError, match="refuse-gone of safety_refuse is not in the pack"):
        draw({"awq": tmp_path}, pack, items=1, seed=1)


def test_without_written_answers_nothing_is_drawn(reports, pack):
    with pytest.raises(DataContractError, match="no hop has written answers"):
        draw({"adapter": reports["adapter"]}, pack, items=1, seed=1)
