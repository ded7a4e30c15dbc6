"""Messengers, devices, identity cards and telephones beyond the mainland; services and sums are left alone."""

import pytest

from tasks.data.privacy.desensitize import ALL_TYPES, mask_text

FOUND = [
    ("加我QQ：2754109361，备注来意", "加我QQ：[QQ]，备注来意"),
    ("扣扣号2754109私聊", "扣扣号[QQ]私聊"),
    ("13912345678QQ：1234567", "[MOBILE]QQ：[QQ]"),
    ("微信号：maple_2207，电话同号", "微信号：[WECHAT]，电话同号"),
    ("WeChat ID wxid_a1b2c3d4e5", "WeChat ID [WECHAT]"),
    ("vx:tina99102", "vx:[WECHAT]"),
    ("手机串号IMEI：356938035643809", "手机串号IMEI：[IMEI]"),
    ("The stolen phone is 35-693803-564380-9.", "The stolen phone is [IMEI]."),
    ("身份证号码110105199003071234核验失败", "身份证号码[RESIDENT_ID]核验失败"),
    ("男，汉族，110105199003071234，初中文化", "男，汉族，[RESIDENT_ID]，初中文化"),
    ("身份证110105900307123", "身份证[RESIDENT_ID]"),
    ("香港居民A123456(3)", "香港居民[RESIDENT_ID]"),
    ("电话（852）91234567", "电话[MOBILE]"),
    ("Tel：00886912345678", "Tel：[MOBILE]"),
    ("澳门电话+853 6612 3456", "澳门电话[MOBILE]"),
    ("手機0912-345-678", "手機[MOBILE]"),
    ("市話(02)2345-6789轉分機", "市話[LANDLINE]轉分機"),
    ("WhatsApp +33 6 39 98 12 34", "WhatsApp [LANDLINE]"),
    ("Kevin13912345678", "Kevin[MOBILE]"),
    ("联系方式13912345678/13812345678", "联系方式[MOBILE]/[MOBILE]"),
    ("信用卡号4539148803436468", "信用卡号[BANK_CARD]"),
]

LEFT = [
    "171500-23500=148000",
    "13912345678 × 3 = 41737037034",
    "13912345678是质数吗？",
    "客服热线 400-810-0000 或 800-810-0000",
    "Call the toll-free line 800-555-0199 or 1-888-555-0199.",
    "拨打12345、12379、95588、110、119或120",
    "内网192.168.1.23、10.20.30.40、172.16.5.1，DNS 8.8.8.8和114.114.114.114",
    "监听fe80::1和fd12:3456::1",
    "测试卡号4242 4242 4242 4242和4111111111111111",
    "订单号202305110123456789已发货",
    "编号110105199003071234",
    "QQ群里有50000人，QQ音乐10000首",
    "微信WeChat payment、wx.request和openid",
    "SN13912345678，哈希13912345678abcd12",
    "校验 356938035643808 无效",
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_accounts_and_numbers_are_masked_by_their_own_type(text: str, masked: str) -> None:
    assert mask_text(text, ALL_TYPES)[0] == masked


@pytest.mark.parametrize("text", LEFT)
def test_services_sums_and_things_are_left_alone(text: str) -> None:
    assert mask_text(text, ALL_TYPES) == (text, {})
