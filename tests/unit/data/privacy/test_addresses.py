"""Addresses that lead to a door are found; places, plants and their numbered parts stay."""

import pytest

from tasks.data.privacy.desensitize import find_spans

ADDRESSES = [
    ("家住杭州市西湖区文三路138号3幢2单元501室。", "杭州市西湖区文三路138号3幢2单元501室"),
    ("收货地址：新疆维吾尔自治区乌鲁木齐市新市区人民南路202号", "新疆维吾尔自治区乌鲁木齐市新市区人民南路202号"),
    ("他搬到了阳光花园二期3栋1202室", "阳光花园二期3栋1202室"),
    ("住在海盐县秦山镇杨柳村3组12号", "海盐县秦山镇杨柳村3组12号"),
    ("寄到朝阳北路甲12号院，谢谢", "朝阳北路甲12号院"),
    ("送到科创二路14弄21号1514室", "科创二路14弄21号1514室"),
    ("邮编：310013", "310013"),
    (
        "She lives at 12 North 5th Street, Apt 4B, Richland, WA 99352.",
        "12 North 5th Street, Apt 4B, Richland, WA 99352",
    ),
    ("快递请寄到枫桥路385，谢谢", "枫桥路385"),
    ("家住幸福家园3-2-501", "幸福家园3-2-501"),
    ("送到紫金大厦A座1203室门口", "紫金大厦A座1203室"),
    ("通訊地址：臺北市大安區和平東路二段18號5樓之3", "臺北市大安區和平東路二段18號5樓之3"),
    ("住在翠湖名邸2期7幢4单元2903", "翠湖名邸2期7幢4单元2903"),
    ("She has lived at 4089 Marston Port since 2009.", "4089 Marston Port"),
    ("771 Kelly Crossing Suite 210, Lake Dora, OH 44012", "771 Kelly Crossing Suite 210, Lake Dora, OH 44012"),
    ("Flat 3, 27 Abbey Road, London is taken", "Flat 3, 27 Abbey Road, London"),
    ("send it to PO Box 1187, Augusta, GA 30903", "PO Box 1187, Augusta, GA 30903"),
    ("井水取自海盐县秦山街道青山村张家桥18号。", "海盐县秦山街道青山村张家桥18号"),
    ("请在瓦房店市红沿河镇北岗村小崴屯设点", "瓦房店市红沿河镇北岗村小崴屯"),
    ("包裹放在滨海大道201号门口", "滨海大道201号"),
    ("It went to 12 Mill Lane, Selby YO8 4AB by mistake", "12 Mill Lane, Selby YO8 4AB"),
    ("Unit 3, Baxter Industrial Estate, 4 Kiln Road, Leeds", "Unit 3, Baxter Industrial Estate, 4 Kiln Road, Leeds"),
]
NO_ADDRESS = [
    "正常人只有两条18号染色体",
    "中山路2018年改造，长1200米；乘5路在第3站下车",
    "比分3-2-1，型号A3-2-501，版本12-3-450",
    "1984 Apollo Mission, 300 Rapid City, the 42 Running Springs",
    "3号机组和4号机组，1号柴油发电机",
    "一回路2号泵，二回路3号阀，应急道路2号通道",
    "浙江省嘉兴市海盐县，秦山镇",
    "反应堆厂房2号门，3号楼梯间，5层平台",
    "国务院令第124号，环发2号文",
    "支路1号泵，旁路2号阀",
    "The 2 Main Steam Drive, 24 Control Rod Drive mechanisms",
    "Step 3 Close the valve. In 2011 Main Street was flooded",
    "第三条 第2号附件",
]


def addresses_in(text: str) -> list[str]:
    """Return the addresses in a text."""
    return [text[span.start : span.end] for span in find_spans(text, ["address"])]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_addresses_are_found_whole(text: str, address: str) -> None:
    assert addresses_in(text) == [address]


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_places_and_plant_parts_are_left_alone(text: str) -> None:
    assert addresses_in(text) == []
