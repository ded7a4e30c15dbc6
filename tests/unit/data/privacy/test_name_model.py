"""The scorer gives what the features weigh, and its ways of finding names differ as they say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.chinese_names import find_chinese_names
from tasks.data.privacy.make_names import all_features, candidates
from tasks.data.privacy.name_model import LEAST_POINTS, UNKNOWN, Scorer, _bonus, _unlikely, model

TEXT = "记者昨日从社区了解到，马修远已经连续十年照顾瘫痪的邻居。林丽华为其开具证明，欧阳文修与李子、白菜。"


@given(st.lists(st.sampled_from(TEXT), max_size=24).map("".join))
@settings(max_examples=150, deadline=None)
def test_points_are_the_sum_of_the_weights_of_the_features(text: str) -> None:
    bias, weights, words, _ = model()
    scorer = Scorer((-100.0, -100.0))
    scorer._limits = (-1000.0, -1000.0, -1000.0)
    for start, given_, end in candidates(text):
        if cues.role_before(cues.left_of(text, start)):
            continue
        found = {stop: points for points, stop in scorer.ends(text, start, given_, 0.0)}
        of_names = {"S", "SL", "A", "B", "Z"}
        features = all_features(text, start, given_, end, words)
        cued = [(family, "1") in features for family in ("RB", "PB", "SA")]
        expected = bias + (
            _bonus(text[start], text[start - 1 : start] if start else "", *cued) or _unlikely(text, start, given_, end)
        )
        expected += sum(
            weights[family].get(key, weights[family].get(UNKNOWN, 0.0) if family in of_names else 0.0)
            for family, key in features
        )
        assert found[end] == pytest.approx(expected)


def test_careful_finds_what_balanced_does_and_balanced_what_sparing_does() -> None:
    sparing, balanced, careful = ({*find_chinese_names(TEXT, names)} for names in ("sparing", "balanced", "careful"))
    assert sparing <= balanced <= careful
    assert LEAST_POINTS["careful"] < LEAST_POINTS["balanced"] < LEAST_POINTS["sparing"]
