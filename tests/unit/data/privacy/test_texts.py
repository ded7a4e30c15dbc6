"""Texts of kinds that no rule was tuned on: résumés, visit notes, chats, forms, exams. All details are invented."""

import pytest

from tasks.data.privacy.desensitize import ALL_TYPES, mask_text

MASKED = [
    (
        "姓名：鄢晓彤，现居合肥市蜀山区望江西路88号润安大厦B座1607，手机150 5512 8836",
        "姓名：[PERSON_NAME]，现居[ADDRESS]，手机[MOBILE]",
    ),
    ("家属邝美珍代诉，主管医师：蔺雨桐", "家属[PERSON_NAME]代诉，主管医师：[PERSON_NAME]"),
    (
        "澳門氹仔南京街55號海怡花園第3座18樓F，電話 853 6688 1234",
        "[ADDRESS]，電話 [MOBILE]",
    ),
    ("台北市信義區忠孝東路五段68號9樓之2 王怡婷收 0987-654-321", "[ADDRESS] [PERSON_NAME]收 [MOBILE]"),
    ("开户行账号 1302 0105 0902 4567 890", "开户行账号 [BANK_CARD]"),
    ("Hi Mei-Ling, this is Rosalind from the clinic.", "Hi [PERSON_NAME], this is [PERSON_NAME] from the clinic."),
    ("Ship to Boise, tel (208) 555-0143", "Ship to Boise, tel [LANDLINE]"),
    ("the officer (mobile +44 7700 900374) is on call", "the officer (mobile [MOBILE]) is on call"),
    ("王建国师傅和操作员赵敏到了", "[PERSON_NAME]师傅和操作员[PERSON_NAME]到了"),
    ("昨晚梦到王燕了，独立董事江少宁投了赞成票", "昨晚梦到[PERSON_NAME]了，独立董事[PERSON_NAME]投了赞成票"),
    ("我在找一本阿加西·罗尼的书", "我在找一本[PERSON_NAME]的书"),
    ("請問許哲瑋先生您的預約", "請問[PERSON_NAME]先生您的預約"),
    ("失蹤登記：禤玉蘭，住民謝怡君已報案", "失蹤登記：[PERSON_NAME]，住民[PERSON_NAME]已報案"),
]
LEFT = [
    "甲、乙、丙、丁四人分别来自江苏、安徽、广东、云南",
    "b是a的左子树，c是a的右子树；顾客可退货，体育教师和学生，家庭、情侣、朋友都聚集在海边",
    "β衰变中的电子来自于中子向质子的转变",
    "客人不知其是商君也。工師得大木，則王喜；匠人斫而小之，則王怒。",
    "甲公司开发写字楼一幢，乙可起诉丙，丁可以申请再审，丁随甲去了",
    "唐律中规定，仇富者心态，唐氏综合征，易阳市与衡远市的居民",
    "氯离子的结构示意图：+17 211197，原乙国的国民，祖籍拓跋氏改姓",
    "(C)丙同学认为甲对；(D)丁同学认为都不对",
    "编码 1302 0105 0902 4567 890",
    "《周书》记载古乐，音量小是古琴的缺点；他们的周薪和月薪；蔚蓝的湖泊",
    "学者：毕加索的每幅画都是杰作。",
    "白术12g、黄芪15g、石斛10g、柏子仁9g、常山6g、马齿苋30g，水煎服",
    "水稻品种：黄华占、南粳46、龙稻18；牛至、罗勒、石榴、杨梅、李子",
    "成都、安康、常德、高雄、温州、金华、马鞍山、石家庄、连云港",
    "经费由财政厅安排，任务由康复科承担，成果归双方共有",
    "Explain how Virtual Reality works. Angel Food Cake needs Cake Flour.",
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_what_is_personal_goes_and_nothing_beside_it(text: str, masked: str) -> None:
    assert mask_text(text, ALL_TYPES)[0] == masked


@pytest.mark.parametrize("text", LEFT)
def test_what_is_nobody_stays(text: str) -> None:
    assert mask_text(text, ALL_TYPES) == (text, {})
