"""What normalization levels out, and what it must keep apart."""

import pytest

from tasks.data.matching.normalization import is_mojibake, language_of, normalize


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ＧＢ　１８８７１－２００２", "gb 18871-2002"),
        ("隐蔽，一般不超过2天。", "隐蔽 一般不超过２天"),
        ("3～5 km", "3-5km"),
        ("3 – 5 km", "3—5 KM"),
        ("1,000 μSv/h", "1000 µSv/h"),
        ("《核安全法》", "核安全法"),
    ],
)
def test_level(left: str, right: str) -> None:
    assert normalize(left) == normalize(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [("1.5 mSv", "15 mSv"), ("3-5 km", "35 km"), ("< 50 mSv", "> 50 mSv"), ("100 mSv", "100 μSv"), ("3. 5人", "35人")],
)
def test_apart(left: str, right: str) -> None:
    assert normalize(left) != normalize(right)


def test_languages() -> None:
    assert language_of("剂量率为1000 μSv/h，按GSR Part 7应撤离") == "zh"
    assert language_of("Stay indoors and close the windows.") == "en"
    assert language_of("Закройте окна и двери") is None
    assert language_of("1000") == "en"


def test_correct_text_is_no_mojibake() -> None:
    for text in (
        "碘片不能防外照射。",
        "naïve résumé déjà vu café",
        "剂量 ≥ 50 μSv/h ± 10 %",
        "α、β、γ 射线",
        "“引号”——破折号……",
    ):
        assert not is_mojibake(text)
