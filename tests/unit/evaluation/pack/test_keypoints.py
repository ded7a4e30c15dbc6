"""Key points by the rules of the README: what counts as standing in an answer, and what does not."""

import json
from pathlib import Path

import pytest

from tasks.evaluation.pack.keypoints import folded, found_points, said

SAME = [
    ("50 mSv", "剂量约为５０毫希沃特。"),
    ("50 mSv", "about 50 millisieverts in a week"),
    ("25 μSv/h", "OIL2 是 25 微希/小时"),
    ("25 μSv/h", "25 uSv/h"),
    ("25 µSv/h", "25 μSv·h⁻¹"),
    ("30～50 km", "半径 30-50 km"),
    ("30～50 km", "从 30 公里至 50 公里"),
    ("15–30 km", "15 to 30 km"),
    ("3.7×10⁸ Bq", "活度 3.7 x 10^8 Bq"),
    ("1000 μSv/h", "1,000 μSv/h"),
    ("1000 μSv/h", "1 000 μSv/h"),
    ("Cs-137", "铯与 Cs137"),
    ("碘-131", "碘 131 落到牧草"),
    ("5 级", "定为**5级**"),
    ("2 天", "不超过 2 days"),
    ("24 h", "24 小时内"),
    ("避迁", "應當避遷"),
    ("melt", "the fuel is melting"),
    ("do not touch", "Do NOT touch it"),
    ("on-site", "on site arrangements"),
    ("Level 5", "it was level 5, later"),
    ("don't run", "don’t run"),
    ("1.5%", "约为 1.5 %"),
]
DIFFERENT = [
    ("5 级", "定为 15 级"),
    ("5 级", "7.5 级"),
    ("1 mSv", "0.1 mSv"),
    ("1 mSv", "1 mSv/h 是剂量率，不是剂量"[:7]),
    ("50 mSv", "50 Sv"),
    ("50 mSv", "50 μSv"),
    ("370 MBq", "370 mBq"),
    ("Level 5", "level 50"),
    ("Level 5", "level 5.5"),
    ("No", "Note this; nothing is known"),
    ("INES 5", "INES"),
    ("8 天", "1.8 天"),
    ("stop", "nonstop"),
    ("3 Bq", "2e3 Bq"),
]


@pytest.mark.parametrize(("point", "answer"), SAME)
def test_the_same_in_another_spelling_counts(point, answer):
    assert found_points([point], answer) == [True]


@pytest.mark.parametrize(("point", "answer"), DIFFERENT)
def test_a_part_of_a_word_or_a_number_does_not_count(point, answer):
    assert found_points([point], answer) == [False]


def test_one_of_several_forms_is_enough():
    points = [{"any": ["尚不清楚", "未知"]}, "监测"]
    assert found_points(points, "来源未知。") == [True, False]


def test_numbers_that_stand_apart_are_not_joined():
    assert found_points(["100 μSv/h"], "OIL 2 100 μSv/h") == [True]
    assert found_points(["5 级"], "事故发生在 1986. 5 级为三哩岛") == [True]
    assert folded("1986, 5 级") != folded("19865 级")


def test_folding_twice_changes_nothing():
    for text in (answer for _, answer in SAME + DIFFERENT):
        assert folded(folded(text)) == folded(text)


#: Words in an answer and whether they count: said, denied, quoted as a warning, or not there at all.
LABELLED = [
    json.loads(line)
    for line in Path(__file__).with_name("labelled_denials.jsonl").read_text(encoding="utf-8").splitlines()
]
#: The least share of the labelled answers that must be read as labelled.
AGREEMENT = 0.98


@pytest.mark.parametrize("use", ["key_point", "forbidden"])
def test_denials_are_seen_and_double_ones_are_none(use):
    rows = [row for row in LABELLED if row["use"] == use]
    counts = [bool(said([row["form"]], row["text"], wanted=use == "key_point")) for row in rows]
    wrong = [row for row, counted in zip(rows, counts, strict=True) if counted != row["counts"]]
    assert len(wrong) <= (1 - AGREEMENT) * len(rows), wrong
    # Both sides are there: seeing a denial everywhere, or nowhere, is no way through.
    assert min(sum(row["counts"] for row in rows), sum(not row["counts"] for row in rows)) >= 15


def test_words_that_the_reference_itself_denies_are_asked_for_as_words():
    reference = "The inhalation hazard is not underestimated."
    assert found_points(["underestimate"], "It is then not underestimated.", reference) == [True]
    assert found_points(["underestimate"], "It is then not underestimated.", "Else one may underestimate it.") == [
        False
    ]


def test_a_point_denied_once_and_said_once_counts():
    assert found_points(["立即撤离"], "一般不要立即撤离；接到指令后立即撤离。") == [True]


def test_a_denial_ends_with_its_line():
    assert found_points(["隐蔽"], "不要\n隐蔽") == [True]
