"""A number with its unit: what is read out of an answer, and why an answer is wrong."""

import pytest

from tasks.evaluation.pack.numeric import score_numeric
from tasks.exams.pack.quantities import quantities, unit_named
from tasks.exams.pack.spelling import cleaned

RIGHT = [
    "10 μSv",
    "１０微希",
    "0.01 mSv",
    "0.01毫希沃特",
    "1×10⁻⁵ Sv",
    "1e-5 Sv",
    "1 × 10^(-5) Sv",
    "1 mrem",
    "10.1 μSv",
    "约 10 微西弗。",
    "**10 µSv**",
    r"\( 10 \, \mu\text{Sv} \)",
    r"\boxed{10\ \mathrm{μSv}}",
    "十微希",
    "10 microsieverts",
    "40 μSv/h × 0.25 h = 10 μSv，低于 1 mSv 的限值",
    "15 min 是 0.25 h。答案：40 μSv/h × 0.25 h = 10 μSv。公众限值是 1 mSv",
    "The answer is 10 μSv, far below 1 mSv.",
    "15 min 内约 10 μSv，即 15 分钟",
    "10 μSv 或 0.01 mSv",
]
WRONG = [
    ("10 mSv", "off_by_1000"),
    ("10 Sv", "off_by_1000"),
    ("10 nSv", "off_by_1000"),
    ("0.01 μSv", "off_by_1000"),
    ("10", "no_unit"),
    ("答案是 10。", "no_unit"),
    ("12 μSv", "wrong_value"),
    ("12", "wrong_value"),
    ("10 μSv/h", "wrong_unit"),
    ("10 μGy", "wrong_unit"),
    ("10 分钟", "wrong_unit"),
    ("不知道", "no_number"),
    ("100 μSv 或 10 μSv", "two_answers"),
    ("10～20 μSv", "wrong_value"),
    ("10 μSv 还是 10 mSv？答案：10 mSv", "off_by_1000"),
]


@pytest.fixture
def dose(make_item):
    return make_item("numeric")


@pytest.mark.parametrize("answer", RIGHT)
def test_the_right_dose_counts_however_it_is_written(dose, answer):
    assert score_numeric(dose, answer) == (1.0, score_numeric(dose, answer)[1] | {"failure": None})


@pytest.mark.parametrize(("answer", "failure"), WRONG)
def test_a_wrong_dose_says_why(dose, answer, failure):
    value, detail = score_numeric(dose, answer)
    assert (value, detail["failure"]) == (0.0, failure)


def test_what_was_read_is_shown(dose):
    detail = score_numeric(dose, "大约 0.01 mSv 吧")[1]
    assert detail == {"expected": "10 μSv", "read": "0.01 mSv", "failure": None}


def test_the_tolerance_is_a_share_of_the_value(make_item):
    item = make_item("numeric", tolerance=0.1)
    assert score_numeric(item, "10.9 μSv")[0] == 1
    assert score_numeric(item, "11.1 μSv")[0] == 0
    assert score_numeric(make_item("numeric", tolerance=0), "0.01 mSv")[0] == 1


def test_a_quantity_of_the_question_in_another_unit_is_no_conversion(make_item):
    item = make_item("numeric", question="1850 nSv/h 是多少 μSv/h？", value=1.85, unit="μSv/h")
    assert score_numeric(item, "1850 nSv/h")[1]["failure"] == "repeats_question"
    assert score_numeric(item, "1850 nSv/h = 1.85 μSv/h")[0] == 1


@pytest.mark.parametrize(
    ("value", "unit", "answer", "right"),
    [
        ([30, 50], "km", "30～50 公里", True),
        ([30, 50], "km", "30 km to 50 km", True),
        ([30, 50], "km", "40 km", False),
        (30, "min", "半小时", True),
        (2, "d", "48 h", True),
        (3, "级", "三级", True),
        (5, "level", "INES Level 5", True),
        (3, "", "3", True),
        (3, "", "3 个半衰期", True),
        (3, "", "3 mSv", False),
        (2, "片", "两片", True),
        (3.7e10, "Bq", "1 Ci", True),
        (370, "MBq", "0.37 GBq", True),
        (370, "MBq", "370 mBq", False),
        (5000, "Bq/kg", "5 Bq/g", True),
        (2.5, "kBq/m²", "2500 Bq/m2", True),
        (4, "Bq/m³", "0.004 Bq/L", True),
        (1, "mSv", "0.1 rem", True),
        (20, "%", "20%", True),
        (12000, "人", "1.2 万人", True),
        (60, "Bq/L", "每升 60 Bq", True),
        (60, "Bq/L", "每升 60 Bq/L", True),
        ([30, 50], "km", "30 km～50", True),
        (80, "h", "3 天 8 小时", True),
        (80, "min", "1 hour and 20 minutes", True),
        (1.85, "μSv/h", "1.85 (μSv/h)", True),
        (1.85, "μSv/h", "数值：1.85，单位：μSv/h", True),
        (1.85, "μSv/h", "1.85\nμSv/h", True),
        (1.85, "μSv/h", "1.85 µSv⋅h⁻¹", True),
        (1.85, "μSv/h", "1.85 μSv per hour", True),
        (1.85, "μSv/h", "1.85 微希沃特每小时", True),
        (1.85, "μSv/h", "1.85 微Sv/时", True),
        (4, "Bq/m³", "4 Bq m^-3", True),
        (4, "Bq/m³", "4 贝可/立方米", True),
    ],
)
def test_units_are_converted(make_item, value, unit, answer, right):
    item = make_item("numeric", value=value, unit=unit, question="？")
    assert score_numeric(item, answer)[0] == float(right)


def test_a_prefix_wrong_is_told_from_a_wrong_number_at_every_unit(make_item):
    for unit in ("mSv", "μSv/h", "kBq/m²", "mGy", "MBq"):
        item = make_item("numeric", value=7, unit=unit, question="？")
        assert score_numeric(item, f"7000 {unit}")[1]["failure"] == "off_by_1000"
        assert score_numeric(item, f"70 {unit}")[1]["failure"] == "wrong_value"


def test_dates_labels_and_years_are_no_quantities_of_a_dose():
    text = cleaned("GB 18871-2002 附录 E：OIL2 为 100 μSv/h")
    assert [found.low for found in quantities(text) if found.unit] == [100]


@pytest.mark.parametrize("name", ["mSv", "μSv/h", "uSv/h", "毫希", "微戈瑞/小时", "Bq/cm²", "mSv/a", "km/h", "%", "片"])
def test_known_units(name):
    assert unit_named(name) is not None


@pytest.mark.parametrize("name", ["furlong", "mbq", "mSv mSv", "", "h/"])
def test_unknown_units(name):
    assert unit_named(name) is None
