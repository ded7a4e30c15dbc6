"""Who is known is no personal data, unless a form or a number says that an ordinary person of that name is meant."""

from pathlib import Path

import pytest

from tasks.core.settings import PrivacyParams, PrivacyPolicies
from tasks.data.privacy.desensitize import ALL_TYPES, Desensitizer, mask_text

KNOWN = [
    "华罗庚提出并推广了优选法。",
    "作者史铁生，文章写他的母亲。",
    "英国作家柯南·道尔写了福尔摩斯。",
    "《射雕英雄传》里的郭靖和黄蓉。",
    "莎士比亚的悲剧，男主角叫罗密欧。",
    "鲁班锁是一种不用钉子的榫卯玩具。",
    "A. 王国维\nB. 梁启超\nC. 谭嗣同\nD. 黄遵宪",
    "Harry Potter was written by J. K. Rowling.",
    "Albert Einstein admired Michael Faraday and James Watt.",
    "Leonardo da Vinci painted the Mona Lisa.",
]
ORDINARY = [
    ("姓名：陈云帆", "姓名：[PERSON_NAME]"),
    ("联系人：梁启超，电话13912345678", "联系人：[PERSON_NAME]，电话[MOBILE]"),
    ("Pamela Jackson and Jerry King signed.", "[PERSON_NAME] and [PERSON_NAME] signed."),
    ("Henry Watt, 45, was admitted.", "[PERSON_NAME], 45, was admitted."),
]


@pytest.mark.parametrize("text", KNOWN)
def test_public_and_fictional_people_stay(text: str) -> None:
    assert mask_text(text, ALL_TYPES) == (text, {})


@pytest.mark.parametrize(("text", "masked"), ORDINARY)
def test_ordinary_people_with_a_known_name_or_a_longer_one_do_not(text: str, masked: str) -> None:
    assert mask_text(text, ALL_TYPES)[0] == masked


def test_public_people_can_be_masked_by_their_own_policy(tmp_path: Path) -> None:
    policies = PrivacyPolicies.model_validate(dict.fromkeys(PrivacyPolicies.model_fields, "mask"))
    cleaner = Desensitizer(PrivacyParams(policies=policies, names="balanced", organisations=None), tmp_path, None)
    cleaned = cleaner.clean([{"role": "user", "content": "梁启超推动了维新变法。"}])
    assert cleaned.messages[0]["content"] == "[PUBLIC_PERSON]推动了维新变法。"
    assert cleaner.clean(cleaned.messages).masks == ()
