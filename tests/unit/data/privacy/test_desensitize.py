"""Personal data is found in running Chinese and English; engineering text is left alone."""

from datetime import date
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.privacy.checksums import luhn_valid, resident_id_check
from tasks.data.privacy.desensitize import ALL_TYPES, find_spans, mask_text

FULL_WIDTH = {code - 0xFEE0: code for code in range(0xFF01, 0xFF5F)}

PERSONAL = [
    ("resident_id", "证件号11010519491231002X的登记人"),
    ("resident_id", "身份证：110105 19491231 002x。"),
    ("resident_id", "ID11010519491231002X, please check"),
    ("mobile", "值班手机13800138000报告地点"),
    ("mobile", "请拨+86 138-0013-8000联系"),
    ("mobile", "Call tel13800138000 now."),
    ("landline", "座机010-62345678转8001值守"),
    ("landline", "传真(0571) 8765 4321"),
    ("landline", "值班电话：87654321。"),
    ("email", "发到zhang.san@example.com.cn即可"),
    ("email", "mail duty@example.org, then wait"),
    ("bank_card", "补偿打到卡6222021234567890128上"),
    ("bank_card", "card 5413 3300 8909 6128 was used"),
    ("licence_plate", "车辆京A12345经擦拭后放行"),
    ("licence_plate", "新能源车粤BD12345停在控制点"),
    ("licence_plate", "川A·1B2C3复测合格"),
    ("passport", "持E12345678号护照入境"),
    ("passport", "护照号码：EA1234567。"),
    ("passport", "passport no. G87654321 was shown"),
    ("credit_code", "统一社会信用代码91110000600037341L的单位"),
    ("credit_code", "代码 91440300708461136T。"),
    ("coordinates", "采样点北纬30.43521°，东经120.95123°附近"),
    ("coordinates", "GPS定位30.43521, 120.95123处"),
    ("coordinates", "at 39°54′15″N, 116°24′27″E we stopped"),
    ("mobile", "手机号138 0013 8000（同微信）"),
    ("landline", "call +44 20 7946 0958 today"),
    ("ip", "服务器47.93.21.23，端口开放"),
    ("ip", "connect to 2001:db8::8a2e:370:7334 first"),
]

ENGINEERING = [
    "剂量率13800138000 Bq/m3，低于限值",
    "频率 13812345678 Hz",
    "计数率13912345678 cps",
    "活度为3.7e10 Bq，即1 Ci",
    "计数 4111111111111111 Bq",
    "GB 18871-2002 附录E、HAF 002、GB/T 17680.1-2008",
    "按最新GB18871和新GB4792标准执行",
    "2011-03-11 14:46，20110311，2013年修订",
    "第3.2.1.4条规定，见4.2.1.3节",
    "4.2.1.3 应急组织",
    "软件版本1.2.3.4，version 10.2.0.1",
    "时刻12:30:45，std::vector，00:1A:2B:3C:4D:5E",
    "本机127.0.0.1，子网掩码255.255.240.0",
    "OIL1为1000 μSv/h，OIL2为100 μSv/h",
    "国务院令第124号，IAEA GSR Part 7，EPR-NPP-PPA 2013",
    "读数0.0212345678，0.13812345678",
    "云A380客机，宁C3级，京A级",
    "半衰期30.1年，1 Ci = 37000000000 Bq",
    "热线12345，全国统一",
    "序列号13800138000，图号E12345678",
    "版本由2.9.8.246升级到2.3.17.68",
    "北纬30°以北，东经120°以东",
    "读数为0.1234, 0.5678",
    "烟囱高度75.30 m，距离120.9512 m",
    "校准因子1.0234，1.0312",
]


@pytest.mark.parametrize(("type_", "text"), PERSONAL)
def test_personal_data_is_masked(type_: str, text: str) -> None:
    masked, counts = mask_text(text, ALL_TYPES)
    assert counts == {type_: 1}
    assert f"[{type_.upper()}]" in masked


@pytest.mark.parametrize(("type_", "text"), PERSONAL)
def test_full_width_forms_are_masked_too(type_: str, text: str) -> None:
    assert mask_text(text.translate(FULL_WIDTH), ALL_TYPES)[1] == {type_: 1}


@pytest.mark.parametrize("text", ENGINEERING)
def test_engineering_text_is_left_alone(text: str) -> None:
    assert mask_text(text, ALL_TYPES) == (text, {})
    assert mask_text(text.translate(FULL_WIDTH), ALL_TYPES)[1] == {}


def test_only_the_asked_types_are_masked() -> None:
    text = "手机13800138000，邮箱a@example.com"
    assert mask_text(text, ["email"]) == ("手机13800138000，邮箱[EMAIL]", {"email": 1})
    assert mask_text(text, []) == (text, {})


def test_text_around_is_kept_to_the_character() -> None:
    masked, counts = mask_text("甲方，１３８００１３８０００；乙方，13900139000。", ALL_TYPES)
    assert masked == "甲方，[MOBILE]；乙方，[MOBILE]。"
    assert counts == {"mobile": 2}


def test_personal_data_glued_to_other_personal_data_is_found() -> None:
    assert mask_text("a@b.cn11010519491231002X", ALL_TYPES)[0] == "[EMAIL][RESIDENT_ID]"


def test_things_with_wrong_check_digits_are_not_personal_data() -> None:
    assert mask_text("编号110105194912310021", ["resident_id"])[1] == {}
    assert mask_text("编号6200000000000006", ["bank_card"])[1] == {}
    assert mask_text("代码91110000600037342L", ["credit_code"])[1] == {}


prefix = st.text(alphabet="值班员请拨打登记号为，。：（ ", max_size=6)


@given(
    prefix,
    st.integers(110000, 659999),
    st.dates(min_value=date(1900, 1, 1), max_value=date(2025, 12, 31)),
    st.integers(0, 999),
    prefix,
)
def test_every_valid_resident_id_is_found(before: str, area: int, born: date, order: int, after: str) -> None:
    first17 = f"{area}{born:%Y%m%d}{order:03d}"
    number = first17 + resident_id_check(first17)
    assert mask_text(before + number + after, ["resident_id"]) == (f"{before}[RESIDENT_ID]{after}", {"resident_id": 1})


@given(st.text(alphabet="0123456789", min_size=17, max_size=17), st.integers(0, 16), st.integers(1, 9))
def test_check_character_sees_every_single_wrong_digit(first17: str, place: int, change: int) -> None:
    wrong = first17[:place] + str((int(first17[place]) + change) % 10) + first17[place + 1 :]
    assert resident_id_check(first17) != resident_id_check(wrong)


@given(st.text(alphabet="0123456789", min_size=12, max_size=18), st.data())
def test_luhn_accepts_one_digit_and_sees_every_single_wrong_one(body: str, data: st.DataObject) -> None:
    valid = [digit for digit in "0123456789" if luhn_valid(body + digit)]
    assert len(valid) == 1
    number = body + valid[0]
    place = data.draw(st.integers(0, len(number) - 1))
    wrong = str((int(number[place]) + data.draw(st.integers(1, 9))) % 10)
    assert not luhn_valid(number[:place] + wrong + number[place + 1 :])


NUMBERS = [
    "13800138000",
    "１３８００１３８０００",
    "11010519491231002X",
    "6200000000000005",
    "010-62345678",
    "10.1.2.3",
]
NAMES = [
    "王小明",
    "张伟",
    "李主任",
    "欧阳文修",
    "约翰·史密斯",
    "扎西平措",
    "John Smith",
    "Dr. Mary Jones",
    "Wang Xiaoming",
]
PLACES = ["文三路138号", "阳光小区3栋501室", "杭州市", "12 High Street", "PO Box 12", "杨柳村3组", "邮编310013"]
CUES = [
    "联系人：",
    "值长",
    "、",
    "和",
    "说",
    "住在",
    "由",
    "护照",
    "E12345678",
    "北纬30.4352°",
    "东经120.9512°",
    "30.4352, 120.9512",
]
OTHERS = [
    *NAMES,
    *PLACES,
    *CUES,
    "[MOBILE]",
    "[PERSON_NAME:MFZWI]",
    "a@b.cn",
    "京A12345",
    "2001:db8::1",
    "手机",
    "tel",
    "电话：",
    "Bq",
]
pieces = st.sampled_from([*NUMBERS, *OTHERS, *"，-.(1A8@: \n"])


@given(st.lists(pieces, max_size=8).map("".join))
def test_masking_twice_changes_nothing_more_and_spans_never_overlap(text: str) -> None:
    spans = find_spans(text, ALL_TYPES)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    masked, counts = mask_text(text, ALL_TYPES)
    assert sum(counts.values()) == len(spans)
    assert mask_text(masked, ALL_TYPES) == (masked, {})


HOSTILE = [
    "1",
    "12 ",
    "1-",
    "1.",
    "a@",
    "Aa ",
    "Dr. ",
    "张",
    "张伟、",
    "白雪、",
    "路1号",
    "住址市市市市市市市市",
    "约翰·",
    "12 High ",
    "1 Aa Aa ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_longer_than_its_length(piece: str) -> None:
    text = (piece * 30_000)[:30_000]
    started = process_time()
    find_spans(text, ALL_TYPES)
    # Milliseconds where the time grows with the length; a backtracking pattern would take minutes.
    assert process_time() - started < 3
