"""One word for what means one thing."""

import pytest

from tasks.retrieval.words import words


@pytest.mark.parametrize(("one", "other"), [
    ("50 mSv", "50毫希"), ("50 mSv", "0.05 Sv"), ("50 mSv", "５０ｍＳｖ"), ("50 mSv", "五十毫西弗"),
    ("1000 μSv/h", "1 mSv/h"), ("25 µSv/h", "25微希/小时"), ("25 μSv/h", "每小时25微西弗"), ("130 mg", "0.13 g"),
    ("碘-131", "I-131"), ("碘131", "iodine-131"), ("铯-137", "Cs-137"), ("OIL2", "oil 2"), ("OIL 4", "操作干预水平4"),
    ("壓水堆煙羽應急計劃區", "压水堆烟羽应急计划区"), ("疏散", "撤离"), ("伽马", "γ"), ("Tablets", "tablet"),
    ("多少毫西弗", "mSv"),
])  # fmt: skip
def test_spellings_of_one_thing_are_one_word(one, other):
    assert sorted(words(one)) == sorted(words(other))


@pytest.mark.parametrize(("one", "other"), [
    ("50 mSv", "50 μSv"), ("50 mSv", "50 mSv/h"), ("碘-131", "碘-129"), ("OIL1", "OIL2"), ("1 Gy", "1 Sv"),
])  # fmt: skip
def test_what_differs_stays_apart(one, other):
    assert set(words(one)) != set(words(other))


def test_what_asks_says_nothing_and_pairs_do_not_reach_across_signs():
    assert words("请问什么是？") == words("How is the?") == []
    assert words("照射，服用") == ["照射", "照", "射", "服用", "服", "用"]
    assert "1986" in words("1986 年")
