"""What normalization levels out, and what it must keep apart; and that the fast way says what the rules say."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.folding import simplified
from tasks.data.matching import normalization
from tasks.data.matching.normalization import NormalizedRow, normalize, normalize_all, normalized, normalized_rows


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ＧＢ　１８８７１－２００２", "gb 18871-2002"),
        ("隐蔽，一般不超过2天。", "隐蔽 一般不超过２天"),
        ("3～5 km", "3-5km"),
        ("3 – 5 km", "3—5 KM"),
        ("1,000 μSv/h", "1000 µSv/h"),
        ("《核安全法》", "核安全法"),
        ("總體應急時應當隱蔽，乾糧要夠", "总体应急时应当隐蔽，干粮要够"),
        ("甚麼是輻射？着火了", "甚么是辐射？著火了"),
        ("20 ℃", "20°C"),
        ("ﬁre ㎏ ½", "fire kg 1⁄2"),
        ("ＡＢｃ", "abc"),
    ],
)
def test_level(left: str, right: str) -> None:
    assert normalize(left) == normalize(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1.5 mSv", "15 mSv"),
        ("3-5 km", "35 km"),
        ("< 50 mSv", "> 50 mSv"),
        ("100 mSv", "100 μSv"),
        ("3. 5人", "35人"),
        ("1,00", "100"),
        ("1,0000", "10000"),
    ],
)
def test_apart(left: str, right: str) -> None:
    assert normalize(left) != normalize(right)


def by_the_rules(text: str) -> str:
    """Normalize as the rules read, with nothing of the module's own."""
    text = unicodedata.normalize("NFKC", text.replace("℃", "c").replace("℉", "f"))
    text = text.casefold().translate(simplified())
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    apart = r"(?:[^\w<>=+≤≥±×÷]|_)"
    text = re.sub(rf"(?<=\d){apart}+(?=\d)", lambda gap: "点" if gap[0] == "." else "杠", text)
    return re.sub(rf"{apart}+", "", text).replace("点", ".").replace("杠", "-")


PIECES = st.sampled_from(
    [*"0123456789,.，．。…_- \n核电ａ１½㎏℃⑩①<>é後ßA", "\u0301", "\u0e33", "\ud800", "\x1f", "\x00"]
)
TEXTS = st.text(st.one_of(PIECES, st.characters(exclude_characters="点杠點")), max_size=24)


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=4))
def test_many_at_once_say_what_the_rules_say(texts: list[str]) -> None:
    assert normalize_all(texts) == [by_the_rules(text) for text in texts]


@given(st.lists(TEXTS, max_size=4))
def test_both_ways_agree_on_word_gaps(texts: list[str]) -> None:
    assert normalization._with_word_gaps(texts) == [normalization._normalize_one(text) for text in texts]


def test_texts_beyond_one_group_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"第{number}题，½。" if number % 3 else "" for number in range(50)]
    whole = normalize_all(texts)
    monkeypatch.setattr(normalization, "_GROUP_CHARACTERS", 7)
    assert normalize_all(texts) == whole


def test_a_row_is_its_spoken_turns_with_gaps_between_words() -> None:
    row = normalized(
        [
            {"role": "system", "content": "You are calm."},
            {"role": "user", "content": "What is GSR Part 7? 剂量 1.5 mSv"},
            {"role": "assistant", "content": "……"},
            {"role": "tool", "content": "20 km"},
            {"role": "assistant", "content": "Don't go."},
        ]
    )
    assert row == NormalizedRow("uata", ("what is gsr part 7剂量1.5 msv", "……", "20 km", "don t go"))
    assert row.texts == ["whatisgsrpart7剂量1.5msv", "……", "20km", "dontgo"]


def test_rows_at_once_are_the_rows_one_by_one() -> None:
    user = {"role": "user", "content": "甲"}
    conversations = [[user, {"role": "assistant", "content": "ＡB c"}], [], [{"role": "system", "content": "x"}]]
    assert normalized_rows(conversations) == [normalized(messages) for messages in conversations]
    assert normalized_rows([]) == []


@pytest.mark.parametrize(
    ("taiwan", "mainland"),
    [("鈽-239", "钚-239"), ("鋂-241", "镅-241"), ("鎝-99m", "锝-99m"), ("鉲-252", "锎-252"), ("矽", "硅"),
     ("鑀", "锿"), ("砈", "砹"), ("鎦-177", "镥-177"), ("鈾-235", "铀-235"), ("銫-137", "铯-137")],
)  # fmt: skip
def test_elements_are_one_by_whatever_name_they_go(taiwan: str, mainland: str) -> None:
    assert normalize(f"吸入{taiwan}的剂量系数") == normalize(f"吸入{mainland}的剂量系数")


def test_cerium_is_not_plutonium() -> None:
    assert normalize("钸") != normalize("钚")
