"""Duplicates are found, the stated row stays, and different rows are left alone."""

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.settings import NearDuplicateParams
from tasks.data.conversation import ChatRow
from tasks.data.matching.deduplicate import deduplicate
from tasks.data.matching.ngrams import MinHash, gram_sequence, grams, jaccard, rows_per_band

PARAMS = NearDuplicateParams(ngram_characters=5, permutations=128, jaccard=0.8)
Chat = Callable[..., ChatRow]

LONG = (
    "稳定碘只能减少甲状腺对放射性碘的吸收，不能防护外照射，也不能代替隐蔽和撤离，应按卫生部门的通知服用，不要自行服药。"
)


def test_exact_after_normalization_keeps_the_longest_answer(chat: Chat) -> None:
    rows = [
        chat("碘片能防所有辐射吗？", "不能。只防放射性碘", "r-2"),
        chat("碘片能防所有辐射吗?", "不能， 只防放射性碘！！", "r-3"),
        chat("隐蔽一般多久？", "一般不超过2天。", "r-4"),
    ]
    clusters = deduplicate(rows, PARAMS)
    assert [cluster.kept.row_id for cluster in clusters] == ["r-3", "r-4"]
    assert [(d.row.row_id, d.reason, d.jaccard) for d in clusters[0].duplicates] == [("r-2", "exact_duplicate", 1.0)]


def test_equal_answers_keep_the_lowest_row_id(chat: Chat) -> None:
    rows = [chat("问", "答案一样长", "r-b"), chat("问", "答案一样长", "r-a")]
    assert [cluster.kept.row_id for cluster in deduplicate(rows, PARAMS)] == ["r-a"]


def test_near_duplicates_are_one_and_every_copy_hangs_on_the_kept_row(chat: Chat) -> None:
    rows = [
        chat("碘片能防所有辐射吗？", LONG, "r-1"),
        chat("碘片能防所有的辐射吗？", LONG, "r-2"),
        chat("碘片能防所有的辐射吗?", LONG, "r-3"),
        chat("地下室能防辐射吗？", "能减少一部分外照射。", "r-4"),
    ]
    clusters = deduplicate(rows, PARAMS)
    assert [cluster.kept.row_id for cluster in clusters] == ["r-1", "r-4"]
    assert {duplicate.row.row_id for duplicate in clusters[0].duplicates} == {"r-2", "r-3"}
    assert all(d.reason == "near_duplicate" and 0.8 <= d.jaccard < 1 for d in clusters[0].duplicates)


def test_a_system_prompt_in_common_makes_no_duplicate(chat: Chat) -> None:
    system = {"role": "system", "content": LONG * 5}
    rows = [chat("什么是隐蔽？", "进屋关窗。", "r-1"), chat("什么是撤离？", "有序离开。", "r-2")]
    rows = [row.with_messages((system, *row.messages), ()) for row in rows]
    assert len(deduplicate(rows, PARAMS)) == 2


def test_another_number_is_another_row_and_symbols_alone_are_no_common_content(chat: Chat) -> None:
    rows = [
        chat("1.5 mSv是多少μSv？", "1500", "r-1"),
        chat("15 mSv是多少μSv？", "1500", "r-2"),
        chat("？？", "！", "r-3"),
        chat("。。", "……", "r-4"),
    ]
    assert len(deduplicate(rows, PARAMS)) == 4


def test_no_chains_every_dropped_row_is_like_the_kept_one(chat: Chat) -> None:
    texts = [LONG[shift:] + "甲乙丙丁戊己庚辛壬癸"[: shift // 2] for shift in range(0, 30, 3)]
    rows = [chat("问", text, f"r-{number}") for number, text in enumerate(texts)]
    clusters = deduplicate(rows, PARAMS)
    assert 1 < len(clusters) < len(rows)
    assert all(duplicate.jaccard >= 0.8 for cluster in clusters for duplicate in cluster.duplicates)


def test_order_of_rows_does_not_change_what_is_kept(chat: Chat) -> None:
    rows = [chat("碘片能防辐射吗？" + "呢" * number, LONG, f"r-{number}") for number in range(6)]
    forwards = {cluster.kept.row_id for cluster in deduplicate(rows, PARAMS)}
    assert forwards == {cluster.kept.row_id for cluster in deduplicate(rows[::-1], PARAMS)}


def test_grams_are_those_of_the_definition() -> None:
    text = "核应急hé𠮷"
    assert len(gram_sequence(text, 3)) == len(text) - 2
    assert np.array_equal(gram_sequence("abcabc", 3)[[0, 3]], gram_sequence("abc", 3).repeat(2))
    assert len(grams("", 3)) == 0
    assert len(grams("短", 3)) == 1


def test_signature_estimates_jaccard() -> None:
    left, right = grams(LONG * 2 + "甲" * 9, 5), grams(LONG + "乙" * 9, 5)
    minhash = MinHash(512)
    estimate = float((minhash.signature(left) == minhash.signature(right)).mean())
    assert abs(estimate - jaccard(left, right)) < 0.1


def test_signatures_are_the_same_everywhere() -> None:
    # Pinned: another value would move duplicates between versions without anyone having changed a parameter.
    assert MinHash(4).signature(grams("核事故应急", 3)).tolist() == PINNED


PINNED = [992191364, 2348378931, 791460608, 413869248]


@given(st.floats(0.5, 0.95), st.sampled_from([64, 128, 256]))
def test_bands_miss_at_most_one_pair_in_two_hundred_at_the_threshold(threshold: float, permutations: int) -> None:
    rows = rows_per_band(permutations, threshold)
    assert 1 - (1 - threshold**rows) ** (permutations // rows) >= 0.995
