"""Duplicates are found, the better row stays, and different rows are left alone."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.settings import NearDuplicateParams
from tasks.data.matching.deduplicate import Fingerprinter, content_digests, near_duplicates, row_grams
from tasks.data.matching.minhash import rows_per_band, signatures
from tasks.data.matching.ngrams import (
    ChunkGrams,
    Grams,
    character_grams,
    gram_sequence,
    grams,
    hashes_at,
    jaccard,
    rolling_hashes,
    word_grams,
)
from tasks.data.matching.normalization import NormalizedRow, normalized_rows

PARAMS = NearDuplicateParams(ngram_characters=5, ngram_words=3, permutations=128, jaccard=0.8)

LONG = (
    "稳定碘只能减少甲状腺对放射性碘的吸收，不能防护外照射，也不能代替隐蔽和撤离，应按卫生部门的通知服用，不要自行服药。"
)
ENGLISH = (
    "Stable iodine only keeps the thyroid from taking up radioactive iodine; it protects against nothing else, it does "
    "not replace sheltering or evacuation, and it is taken when the health authority says so and not before that time."
)


def rows_of(*turns: Sequence[str]) -> list[NormalizedRow]:
    roles = ("user", "assistant")
    return normalized_rows(
        [[{"role": role, "content": text} for role, text in zip(roles, one, strict=False)] for one in turns]
    )


def grams_from(rows: list[NormalizedRow], language: str) -> Callable[[Sequence[int]], list[Grams]]:
    """Return what gives the n-grams of some of these rows."""
    return lambda places: row_grams([rows[place] for place in places], [language] * len(places), PARAMS)


def matches(rows: list[NormalizedRow], language: str = "zh") -> list[tuple[int, int, float]]:
    """Return the near-duplicates among rows given best first."""
    bands = Fingerprinter(PARAMS).bands(rows, [language] * len(rows))
    return near_duplicates(bands, np.arange(len(rows)), grams_from(rows, language), PARAMS)


def same_content(left: Sequence[str], right: Sequence[str]) -> bool:
    digests = content_digests(rows_of(left, right))
    return bool((digests[0] == digests[1]).all())


def test_one_content_whatever_the_width_punctuation_and_characters() -> None:
    assert same_content(
        ("碘片能防所有辐射吗？", "不能。只防放射性碘"), ("碘片 能防所有輻射嗎?", "不能， 只防放射性碘！！")
    )
    assert same_content(("What is GSR Part 7?", "A standard."), ("what is GSR  part 7", "A standard"))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("1.5 mSv是多少μSv？", "1500"), ("15 mSv是多少μSv？", "1500")),
        (("？？", "！"), ("。。", "……")),
        (("甲", "乙丙"), ("甲乙", "丙")),
        (("甲",), ("甲", "")),
    ],
)
def test_another_content(left: Sequence[str], right: Sequence[str]) -> None:
    assert not same_content(left, right)


def test_no_rows_have_no_digests() -> None:
    assert content_digests([]).shape == (0, 2)


def test_a_near_duplicate_hangs_on_the_best_row() -> None:
    rows = rows_of(
        ("碘片能防所有的辐射吗？", LONG), ("碘片能防所有辐射吗？", LONG), ("地下室能防辐射吗？", "能减少一部分外照射。")
    )
    ((row, kept, likeness),) = matches(rows)
    assert (row, kept) == (1, 0)
    assert 0.8 <= likeness < 1


def test_english_is_compared_by_words() -> None:
    changed = ENGLISH.replace("radioactive iodine;", "radioiodine;")
    letters = "".join(word[::-1] for word in ENGLISH.split())
    rows = rows_of(("Does iodine help?", ENGLISH), ("Does iodine help?", changed), ("Does iodine help?", letters))
    assert [(row, kept) for row, kept, _ in matches(rows, "en")] == [(1, 0)]
    assert len(row_grams(rows[:1], ["en"], PARAMS)[0]) < len(ENGLISH.split()) + 3


def test_the_same_result_in_any_chunks_and_order_of_arrival() -> None:
    rows = rows_of(*(("碘片能防辐射吗？" + "呢" * number, LONG[number:]) for number in range(8)))
    whole = Fingerprinter(PARAMS).bands(rows, ["zh"] * 8)
    single = np.concatenate([Fingerprinter(PARAMS).bands([row], ["zh"]) for row in rows])
    assert np.array_equal(whole, single)
    order = np.array([3, 1, 7, 0, 2, 4, 5, 6])
    shuffled = near_duplicates(whole, order, grams_from(rows, "zh"), PARAMS)
    dropped = {row for row, _, _ in shuffled}
    assert [row for row in order if row not in dropped] == order[brute_force([rows[row] for row in order])].tolist()


def test_rows_too_short_to_compare_never_meet() -> None:
    rows = rows_of(*((question,) for question in "甲乙丙丁"), ("？",), ("！",), (), ("你好",))
    bands = Fingerprinter(PARAMS).bands(rows, ["zh"] * len(rows))
    assert all(len(np.unique(bands[:, band])) == len(rows) for band in range(bands.shape[1]))
    assert matches(rows) == []


def template_rows(count: int, filled: int) -> list[NormalizedRow]:
    """Return rows of one template with other characters in its middle."""
    chance = random.Random(3)
    letters = [chr(0x4E00 + number) for number in range(0, 4000, 3) if number]
    text = "".join(chance.choices(letters, k=120))
    return [
        NormalizedRow("ua", (text[:60] + "".join(chance.choices(letters, k=filled)), text[60:])) for _ in range(count)
    ]


def brute_force(rows: list[NormalizedRow]) -> list[int]:
    found = row_grams(rows, ["zh"] * len(rows), PARAMS)
    kept: list[int] = []
    for row, own in enumerate(found):
        if all(jaccard(own, found[other]) < PARAMS.jaccard for other in kept):
            kept.append(row)
    return kept


def test_a_large_group_is_settled_as_if_all_were_compared_with_all() -> None:
    chance = random.Random(5)
    parts = ["".join(chance.choices([chr(0x5000 + number) for number in range(900)], k=12)) for _ in range(9)]
    base = template_rows(1, 0)[0].turns
    rows = [NormalizedRow("ua", (base[0] + "".join(chance.sample(parts, 4)), base[1])) for _ in range(150)]
    dropped = {row for row, _, _ in matches(rows)}
    assert 5 < len(dropped) < 145
    assert [row for row in range(len(rows)) if row not in dropped] == brute_force(rows)


def test_no_chains_and_no_two_kept_rows_alike() -> None:
    rows = rows_of(*(("问", LONG[shift:] + "甲乙丙丁戊己庚辛壬癸"[: shift // 2]) for shift in range(0, 30, 3)))
    found = matches(rows)
    dropped = {row for row, _, _ in found}
    assert 1 < len(rows) - len(dropped) < len(rows)
    assert all(likeness >= PARAMS.jaccard and kept not in dropped for _, kept, likeness in found)
    assert [row for row in range(len(rows)) if row not in dropped] == brute_force(rows)


def test_a_template_filled_in_thousands_of_times_does_not_go_quadratic() -> None:
    seconds = []
    for count in (500, 2000):
        rows = template_rows(count, 60)
        start = time.process_time()
        assert matches(rows) == []
        seconds.append(time.process_time() - start)
    # Comparing all with all would take sixteen times as long.
    assert seconds[1] < 9 * max(seconds[0], 0.05)


def test_only_rows_in_order_are_looked_at() -> None:
    rows = rows_of(*(("问", LONG),) * 3)
    bands = Fingerprinter(PARAMS).bands(rows, ["zh"] * 3)

    def grams_of(places: Sequence[int]) -> list[Grams]:
        assert 1 not in places
        return grams_from(rows, "zh")(places)

    assert near_duplicates(bands, np.array([2, 0]), grams_of, PARAMS) == [(0, 2, 1.0)]


def test_grams_are_those_of_the_definition() -> None:
    text = "核应急hé𠮷"
    assert len(gram_sequence(text, 3)) == len(text) - 2
    assert np.array_equal(gram_sequence("abcabc", 3)[[0, 3]], gram_sequence("abc", 3).repeat(2))
    assert len(grams("", 3)) == 0
    assert len(grams("短", 3)) == 1


@given(st.lists(st.text(alphabet="核应急 ab\n", max_size=12), max_size=5), st.integers(1, 4))
def test_grams_of_a_chunk_are_those_of_its_texts(texts: list[str], length: int) -> None:
    for of_chunk in (character_grams, word_grams):
        found = of_chunk(texts, length)
        for number, text in enumerate(texts):
            alone = of_chunk([text], length).hashes
            assert np.array_equal(found.hashes[found.rows == number], alone)
    characters = character_grams(texts, length)
    assert [int((characters.rows == number).sum()) for number in range(len(texts))] == [
        max(len(text) - length + 1, 0) for text in texts
    ]


def test_words_are_split_at_gaps_and_around_chinese_characters() -> None:
    assert len(word_grams(["the dose 剂量rate\nnow"], 1).hashes) == 6
    left, right = word_grams(["stay in"], 1).hashes, word_grams(["in stay"], 1).hashes
    assert np.array_equal(left, right[::-1])
    assert len(np.unique(word_grams(["ab ba aab abb b a"], 1).hashes)) == 6


@given(st.lists(st.integers(0, 1 << 21), min_size=12, max_size=40), st.integers(1, 12))
def test_hashes_made_by_halves_are_those_made_one_by_one(values: list[int], length: int) -> None:
    points = np.array(values, dtype=np.uint32)
    rolled = rolling_hashes(points, length)
    assert np.array_equal(rolled, hashes_at(points, np.arange(len(rolled)), length))


def mean_error(estimate: Callable[[int], float], truth: float) -> float:
    return sum(estimate(number) for number in range(20)) / 20 - truth


@pytest.mark.parametrize(("shared", "own"), [(6, 1), (40, 10), (400, 60)])
def test_signatures_estimate_jaccard_for_short_and_long_rows(shared: int, own: int) -> None:
    def estimate(number: int) -> float:
        values = np.random.default_rng(number).integers(0, 1 << 63, shared + 2 * own, dtype=np.uint64)
        both = np.concatenate([values[: shared + own], values[:shared], values[shared + own :]])
        rows = np.repeat([0, 1], shared + own)
        left, right = signatures(ChunkGrams(both, rows), 2, 128)
        return float((left == right).mean())

    assert abs(mean_error(estimate, shared / (shared + 2 * own))) < 0.05


def test_signatures_are_the_same_everywhere() -> None:
    # Pinned: another value would move duplicates between versions without anyone having changed a parameter.
    assert signatures(character_grams(["核事故应急"], 3), 1, 4).tolist() == PINNED


PINNED = [[449248, 1751124, 45376726, 26631942]]


@settings(max_examples=30)
@given(st.floats(0.5, 0.95), st.sampled_from([64, 128, 256]))
def test_bands_miss_at_most_one_pair_in_two_hundred_at_the_threshold(threshold: float, permutations: int) -> None:
    rows = rows_per_band(permutations, threshold)
    assert 1 - (1 - threshold**rows) ** (permutations // rows) >= 0.995
