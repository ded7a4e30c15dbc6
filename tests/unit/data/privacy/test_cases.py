"""Small inputs that once were masked wrongly: every row with its right value."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import PrivacyParams, PrivacyPolicies
from tasks.data.privacy.desensitize import Desensitizer

CASE_14 = [
    ("公众咨询电话是多少？", "可拨打公众热线 400-810-0000 或 12345，也可以拨 12379 预警热线。"),
    ("谁提出了优选法？", "华罗庚提出并推广了优选法。"),
    ("《秋天的怀念》的作者是谁？", "作者史铁生，文章写他的母亲。"),
    ("福尔摩斯是谁写的？", "英国作家柯南·道尔。"),
    ("《射雕英雄传》的男女主角是谁？", "郭靖和黄蓉。"),
    ("罗密欧与朱丽叶是谁的作品？", "莎士比亚的悲剧，男主角叫罗密欧。"),
    ("鲁班锁是什么？", "鲁班锁是一种不用钉子的榫卯玩具。"),
    ("Which number is the poison helpline of the plant?",
     "Call the toll-free line 800-555-0199, it is staffed day and night."),
]  # fmt: skip
CASE_21 = [
    ("采样了哪些作物？", "采样品种有小麦、李子、白菜。"),
    ("止痛药有哪些？", "阿司匹林、罗通定、布洛芬。"),
    ("正常人有几条18号染色体？", "正常人只有两条18号染色体。"),
    ("还剩多少？", "171500-23500=148000"),
    ("这个成语什么意思？", "和颜悦色指态度温和。"),
    ("Where are they?", "San Diego Zoo and Hong Kong."),
]


def cleaned(question: str, answer: str) -> tuple[list[str], tuple[dict[str, Any], ...]]:
    """Return the texts of a row after masking with the shipped policies, and what was masked."""
    policies = PrivacyPolicies.model_validate(
        {**dict.fromkeys(PrivacyPolicies.model_fields, "mask"), "public_person": "keep"}
    )
    cleaner = Desensitizer(PrivacyParams(policies=policies, names="balanced", organisations=None), Path(), None)
    done = cleaner.clean([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    return [message["content"] for message in done.messages], done.masks


@pytest.mark.parametrize(("question", "answer"), CASE_14)
def test_case_14_hotlines_authors_figures_and_things_stay(question: str, answer: str) -> None:
    assert cleaned(question, answer) == ([question, answer], ())


def test_case_14_an_imei_is_masked_by_its_own_type() -> None:
    texts, masks = cleaned("怎么看手机串号？", "拨号界面输入 *#06#，会显示形如 IMEI：356938035643809 的十五位数。")
    assert texts == ["怎么看手机串号？", "拨号界面输入 *#06#，会显示形如 IMEI：[IMEI] 的十五位数。"]
    assert [mask["type"] for mask in masks] == ["imei"]


@pytest.mark.parametrize(("question", "answer"), CASE_21)
def test_case_21_crops_drugs_idioms_sums_and_places_stay(question: str, answer: str) -> None:
    assert cleaned(question, answer) == ([question, answer], ())
