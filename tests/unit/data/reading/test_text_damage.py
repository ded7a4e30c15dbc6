"""Wrongly decoded text is brought back to the letter where that can be proven, refused where it cannot, else left."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.problems import BadRowError
from tasks.data.reading.text_damage import is_mojibake, repaired

SENTENCE = "接到卫生部门通知后服用碘片，最好在照射开始前24 h内；孕妇也要服用。"
TEXTS = [SENTENCE, "隐蔽时关闭门窗和通风，收听官方消息。", "剂量率超过100 μSv/h，应安排避迁。\n第二天复测。"]


def read_wrongly(text: str, right: str, wrong: str) -> str:
    return text.encode(right).decode(wrong)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("right", "wrong"), [("utf-8", "latin-1"), ("gb18030", "latin-1")])
def test_brought_back(text: str, right: str, wrong: str) -> None:
    assert repaired(read_wrongly(text, right, wrong))[0] == text


def read_as_browsers_read_gbk(data: bytes) -> str | None:
    """Return UTF-8 bytes as GBK text, a lone byte 80 as the euro sign; None where bytes would be lost."""
    text = ""
    while data:
        try:
            return text + data.decode("gb18030")
        except UnicodeDecodeError as error:
            if data[error.start] != 0x80:
                return None
            text, data = text + data[: error.start].decode("gb18030") + "€", data[error.start + 1 :]
    return text


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("接到卫生部门通知后服用碘片最好在照射开始前孕妇也要吧"), min_size=6, max_size=60)
)
def test_utf8_read_as_gb18030_is_brought_back(text: str) -> None:
    wrong = read_as_browsers_read_gbk(text.encode())
    if wrong is not None:
        assert repaired(wrong) == (text, "gb18030")


def test_western_accents_and_quotes_are_brought_back() -> None:
    text = "naïve résumé déjà vu café “quoted” – 25 °C"
    assert repaired("".join(chr(byte) for byte in text.encode()))[0] == text
    assert repaired(text.replace("”", "’").encode().decode("cp1252")) == (text.replace("”", "’"), "cp1252")


def test_twice_damaged_text_is_brought_back() -> None:
    twice = read_wrongly(read_wrongly(SENTENCE, "utf-8", "latin-1"), "utf-8", "latin-1")
    assert repaired(twice) == (SENTENCE, "cp1252")


def test_damaged_part_of_a_good_text_is_brought_back() -> None:
    damaged = read_wrongly("碘片只防放射性碘的吸收吧", "utf-8", "gb18030")
    assert repaired(f"问题：Q1 {damaged}\n{SENTENCE}")[0] == f"问题：Q1 碘片只防放射性碘的吸收吧\n{SENTENCE}"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("errors", ["replace", "ignore"])
def test_damage_that_lost_bytes_is_refused(text: str, errors: str) -> None:
    lost = f"{text}啊".encode().decode("gb18030", errors)
    with pytest.raises(BadRowError, match="mojibake"):
        repaired(lost)


def test_western_damage_that_lost_bytes_is_refused() -> None:
    with pytest.raises(BadRowError, match="mojibake"):
        repaired(SENTENCE.encode().decode("cp1252", "ignore"))


@pytest.mark.parametrize(
    "text",
    [
        "碘片不能防外照射。",
        "naïve résumé déjà vu café",
        "“café” «MAÇÃ» IRMÃ” 25 °C ± 2 × 3 · Ångström",
        "剂量 ≥ 50 μSv/h ± 10 %",
        "α、β、γ 射线",
        "“引号”——破折号……",
        "輻射防護的基本原則是時間、距離與屏蔽，應遵從主管機關的通知。",
        "联通和移动的信号，锟字怎么读？",
        "鹳、鹂、鸫都是鸟；铀、钚、镅都是放射性元素。",
        "Закройте окна и двери",
        "放射線防護の三原則は時間・距離・遮蔽です。",
    ],
)
def test_good_text_is_left(text: str) -> None:
    assert repaired(text) == (text, None)


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("接到卫生部门通知后服用碘片最好在照射开始前孕妇也要，。；“”0aé \n"), max_size=80)
)
def test_no_text_of_everyday_characters_is_changed(text: str) -> None:
    assert repaired(text) == (text, None)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("接到卫生部门通知后服用碘片最好在照射开始前孕妇也要"), min_size=8, max_size=60))
def test_any_chinese_text_read_as_latin1_comes_back(text: str) -> None:
    assert repaired(read_wrongly(text, "utf-8", "latin-1"))[0] == text


@given(st.text(max_size=60).filter(lambda text: not any("\ud800" <= sign <= "\udfff" for sign in text)))
def test_any_text_is_left_repaired_or_refused_and_never_crashes(text: str) -> None:
    if not is_mojibake(text):
        assert repaired(text) == (text, None)
