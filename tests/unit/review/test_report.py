"""What a review found: agreement as marked, hop by hop as the hops answered, bound to the marks it was made from."""

import pytest

from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.review.report import report
from tests.unit.review.conftest import lines


def test_a_reviewer_who_says_what_the_scorer_says_agrees_with_it(review, mark_all):
    mark_all("expert-1")
    found = report(review)
    for measure in ("points", "right"):
        one = found["against_automatic"][measure][0]
        assert (one["value"], one["agree"], one["scorer_alone_says_yes"], one["reviewer_alone_says_yes"]) == (
            1,
            1,
            0,
            0,
        )
    for hop in found["hops"].values():
        assert hop["points"]["yes"] == hop["points"]["automatic"]
        assert hop["right"]["yes"] == hop["right"]["automatic"]
    # Alone: nobody to agree with.
    assert found["between"]["points"]["alpha"]["value"] is None
    assert found["between"]["points"]["kappa"] == []
    assert found["disputed"] == []


def test_hops_come_out_as_they_answered(review, mark_all):
    mark_all("expert-1")
    hops = report(review)["hops"]
    assert hops["base"]["points"]["yes"] < hops["awq"]["points"]["yes"] < hops["merged"]["points"]["yes"]
    assert hops["merged"]["severity"]["none"] == hops["merged"]["answers"]


def test_two_who_differ_are_shown_where(review, cards, mark_all):
    mark_all("expert-1")
    turned = {}

    def differ(place, card):
        if card.points or place % 3:
            return {}
        turned[card.card_id] = not card.automatic["right"]
        return {"right": turned[card.card_id], "severity": "dangerous", "factual_error": True}

    mark_all("expert-2", differ)
    found = report(review)
    assert sorted(found["disputed"]) == sorted(turned)
    pair = found["between"]["right"]["kappa"][0]
    assert pair["reviewers"] == ["expert-1", "expert-2"]
    assert pair["units"] == sum(not card.points for card in cards)
    assert pair["agree"] == pytest.approx(1 - len(turned) / pair["units"], abs=1e-6)
    assert pair["interval"][0] < pair["value"] < pair["interval"][1]
    assert found["between"]["points"]["alpha"]["value"] == 1
    harder = found["against_automatic"]["right"][1]
    assert harder["scorer_alone_says_yes"] + harder["reviewer_alone_says_yes"] == len(turned)


def test_what_is_left_open_does_not_count(review, cards, mark_all):
    mark_all("expert-1")
    mark_all("expert-2", lambda place, card: {} if card.points else {"right": None})
    found = report(review)
    assert found["between"]["right"]["kappa"][0]["units"] == 0
    assert found["disputed"] == []
    assert [one["marked"] for one in found["reviewers"]] == [len(cards), len(cards)]


def test_it_names_what_it_is_made_from(review, mark_all):
    mark_all("expert-1")
    found = report(review)
    assert set(found["made_from"]) == {"cards.jsonl", "review.json", "marks/expert-1.jsonl"}
    assert read_json(review / "report.json") == found
    assert report(review) == found
    assert len(lines(review / "marks" / "expert-1.jsonl")) == found["reviewers"][0]["marked"]


def test_without_marks_the_next_command_is_named(review):
    with pytest.raises(DataContractError, match="tunegate review serve"):
        report(review)
