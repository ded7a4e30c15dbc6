"""Splits follow from content alone."""

import numpy as np
import pytest

from tasks.data.matching.deduplicate import content_digests
from tasks.data.matching.normalization import normalized_rows
from tasks.data.split import calibration_rows, in_validation


def digests(count: int, language: str = "zh", width: str = "？"):
    """Digests of conversations that differ in their number."""
    chats = [
        [
            {"role": "user", "content": f"问题{number}{width}"},
            {"role": "assistant", "content": f"{language}回答{number}。"},
        ]
        for number in range(count)
    ]
    return content_digests(normalized_rows(chats))


def names(count: int):
    return np.arange(count, dtype=np.uint64)


def test_the_fraction_is_met_and_a_row_never_moves():
    content = digests(2000)
    chosen = in_validation(content, 0.05)
    assert 60 <= chosen.sum() <= 140
    assert (in_validation(content, 0.1) | ~chosen).all()
    assert not in_validation(content, 0.0).any()
    assert in_validation(content, 1.0).all()


def test_width_and_punctuation_do_not_move_a_row():
    assert (in_validation(digests(50), 0.5) == in_validation(digests(50, width=" ? "), 0.5)).all()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_language_gives_its_share(language):
    # 4,000 draws at 0.1: five standard deviations are 95 rows.
    assert abs(in_validation(digests(4000, language), 0.1).sum() - 400) < 95


def test_calibration_is_balanced_and_stable_when_rows_are_added():
    zh, en = digests(40), digests(40, "en")
    both, chinese = np.concatenate([zh, en]), np.repeat([True, False], 40)
    chosen = calibration_rows(both, names(80), chinese, 10)
    assert chinese[chosen].sum() == 5
    assert both[chosen].tolist() == both[::-1][calibration_rows(both[::-1], names(80), chinese[::-1], 10)].tolist()
    more = np.concatenate([both, digests(60)[40:]])
    again = calibration_rows(more, names(100), np.concatenate([chinese, np.full(20, True)]), 10)
    assert len({*map(tuple, both[chosen])} & {*map(tuple, more[again])}) >= 6


@pytest.mark.parametrize(("zh", "en", "rows"), [(20, 2, 10), (2, 20, 10), (3, 0, 3), (0, 0, 0)])
def test_one_language_fills_up_for_the_other(zh, en, rows):
    content = np.concatenate([digests(zh), digests(en, "en")]) if zh or en else np.empty((0, 2), np.uint64)
    chosen = calibration_rows(content, names(zh + en), np.arange(zh + en) < zh, 10)
    assert len(chosen) == len(set(chosen.tolist())) == rows
