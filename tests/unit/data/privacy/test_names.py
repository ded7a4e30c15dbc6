"""Names of people are found in running text; figures of history, units and ordinary words are not people."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.privacy.desensitize import find_spans, mask_text
from tasks.data.privacy.surnames import GIVEN, MIXED, NEVER, PURE, RARE

CHINESE = [
    ("值长张伟于08:00接班。", ["张伟"]),
    ("联系人：王小明，工号在册。", ["王小明"]),
    ("昨天王小明去了三号机组检查阀门。", ["王小明"]),
    ("操作员刘强、赵敏和孙丽当班", ["刘强", "赵敏", "孙丽"]),
    ("欧阳文修同志负责", ["欧阳文修"]),
    ("患者周芳（女，45岁）", ["周芳"]),
    ("请李主任确认", ["李"]),
    ("由张工复核。", ["张"]),
    ("小王说，设备正常", ["王"]),
    ("班长江涛签字", ["江涛"]),
    ("王建国师傅发现泄漏", ["王建国"]),
    ("许文静与郭凯换班", ["许文静", "郭凯"]),
    ("约翰·史密斯和扎西平措到场", ["约翰·史密斯", "扎西平措"]),
    ("姓名：陈静怡。陈静怡已离岗", ["陈静怡", "陈静怡"]),
    # Words across a border, a surname that is a word, a longer name than a public one, traditional characters.
    ("林丽华为其开具证明", ["林丽华"]),
    ("马修远的信用评分为712分", ["马修远"]),
    ("姓名：陈云帆", ["陈云帆"]),
    ("陳淑惠小姐的訂單何時出貨？", ["陳淑惠"]),
    # Rarer surnames.
    ("舍友戚文珊说水停了。", ["戚文珊"]),
    ("闵思远、郁晓岚和瞿海生到场", ["闵思远", "郁晓岚", "瞿海生"]),
    # Surnames that are function words: by a form, by a title after who is asked.
    ("记录人：向志兰 审核人：于秋生", ["向志兰", "于秋生"]),
    ("请把文件交给应处长", ["应"]),
    # What people do and have.
    ("钱志红承诺按时到岗", ["钱志红"]),
    ("常秀珍的孩子发烧了", ["常秀珍"]),
    ("经熊丽娜核实无误", ["熊丽娜"]),
    ("她的丈夫臧文斌在外地", ["臧文斌"]),
    ("谢谢韩姐帮忙", ["韩"]),
    # Names without a Chinese surname.
    ("乌云高娃和斯琴图雅采了样", ["乌云高娃", "斯琴图雅"]),
    ("村民古丽娜尔·吐尔洪家", ["古丽娜尔·吐尔洪"]),
    ("田中健太郎先生的签证", ["田中健太郎"]),
]
ENGLISH = [
    ("Dr. Whitcombe approved it.", ["Whitcombe"]),
    ("My name is Sarah Connolly and I work here.", ["Sarah Connolly"]),
    ("Reported by: Oyelaran Adeyemi", ["Oyelaran Adeyemi"]),
    ("Ask Wang Xiaoming or Zhang Wei.", ["Wang Xiaoming", "Zhang Wei"]),
    ("Helen O'Brien called. Later O'Brien left.", ["Helen O'Brien", "O'Brien"]),
    ("联系人Li Xiaohong在线", ["Li Xiaohong"]),
    ("J. T. Harcombe signed the form.", ["J. T. Harcombe"]),
    ("Ask Brannoc Tullivar whether the gate is shut.", ["Brannoc Tullivar"]),
    ("The medic Brannoc Tullivar went in.", ["Brannoc Tullivar"]),
    ("Helen Carter, Brannoc Tullivar, and others", ["Helen Carter", "Brannoc Tullivar"]),
    ("My brother Oliver drove there. Dear Grace, thanks", ["Oliver", "Grace"]),
    ("Constable Trewin came. Søren Vinterholm left.", ["Trewin", "Søren Vinterholm"]),
]
NOBODY = [
    "采样品种有小麦、李子、白菜。",
    "阿司匹林、罗通定、布洛芬。",
    "和颜悦色指态度温和。",
    "副总工程师批准，左旋咪唑可驱虫，方中含黄芩，他在乌鲁木齐读武侠小说",
    "Control Rod Position is shown; San Diego Zoo and Hong Kong",
    "操作人员应立即关闭阀门，工作人员和公众撤离",
    "温度高于100℃，水位低于设定值",
    "施工人员进入现场，总工和高工在场",
    "江苏田湾核电站、秦山核电厂、大亚湾、切尔诺贝利、福岛第一核电厂",
    "卢瑟福散射，居里和希沃特，贝克勒尔",
    "石墨、白云石和金刚石的密度各不相同。",
    "一张图片，两周之后，许多方法",
    "邓稼先、钱学森和鲁迅",
    "余热排出系统，安全壳喷淋，常规岛，连续监测",
    "国家核安全局发布通知，由生态环境部负责",
    "值班主任、安全总监和运行值长开会",
    "用两句话向新值班员区分两个区，后者向环境的释放远大于前者",
    "曲线拟合用34阶多项式，余项小于6.4",
    "不必逐级。工况一旦满足更高等级的条件，就应直接宣布",
    "常用普鲁士蓝，苏格兰，北欧国家，三种温纯水，叶纤维",
    "来自外部专家和瑞典学院，后者向环境的释放，用户曾经来过",
    "铁塔是由工程师设计的，请向医生咨询，是原厂长，找全班长",
    "Question A B C D Answer; U. S. Army; patient A. Admit A first",
    "an INES Level 3 rating",
    "Three Mile Island, Daya Bay, Marie Curie's unit, Monte Carlo run",
    "The Geiger counter and the Gray scale; He said so. She left.",
    "Emergency Control Room, Shift Manager Manual, Safety Guide",
    "The range of Long Range Cruise; Machine Learning Engine",
]


def names_in(text: str) -> list[str]:
    """Return the personal names in a text."""
    return [text[span.start : span.end] for span in find_spans(text, ["person_name"])]


@pytest.mark.parametrize(("text", "names"), CHINESE + ENGLISH)
def test_people_are_found(text: str, names: list[str]) -> None:
    assert names_in(text) == names


@pytest.mark.parametrize("text", NOBODY)
def test_what_is_nobody_is_left_alone(text: str) -> None:
    assert names_in(text) == []


def test_a_name_beside_other_personal_data_in_a_list_is_found() -> None:
    # Alone 白雪 is a word; beside people it is one of them.
    assert names_in("白雪很大") == []
    assert names_in("参加者有王小明、白春玉、陈静怡") == ["王小明", "白春玉", "陈静怡"]


def test_every_mention_goes() -> None:
    masked, counts = mask_text("我叫王小明。邻居说王小明很好，问王小明吧", ["person_name"])
    assert "王小明" not in masked
    assert counts == {"person_name": 3}


def test_character_lists_do_not_contradict_each_other() -> None:
    assert not PURE & MIXED
    assert not (PURE | MIXED) & RARE
    assert not GIVEN & NEVER


@pytest.mark.parametrize(
    "text",
    [
        "白鹭洲核燃料元件厂承办",
        "由葛洲坝调度",
        "戴维宁等效电路可以简化分析",
        "莫尔圆用于求主应力",
        "中子雷姆仪在5月完成检定",
    ],
)
def test_places_instruments_and_laws_are_no_names(text):
    assert not find_spans(text, ["person_name"])


@pytest.mark.parametrize("text", ["值长王海洲签字", "联系人：李园", "由陈柱负责复核"])
def test_who_is_called_like_a_place_is_found_by_the_role(text):
    assert find_spans(text, ["person_name"])


@given(
    st.lists(
        st.sampled_from(["J", "J.", "R", " ", "Whitlock", "Mr", "Dr. ", "O'", "de ", "-", "\n", "Ruth", ","]),
        max_size=9,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_english_text_of_name_parts_breaks_the_search(parts):
    text = "".join(parts)
    for span in find_spans(text, ["person_name"]):
        assert 0 <= span.start < span.end <= len(text)


@given(st.lists(st.sampled_from("佐藤健太郎司马相如王小明向葛洲坝，的和说由0a[]\x1a"), max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_text_of_name_characters_breaks_the_search(text):
    for span in find_spans(text, ["person_name"]):
        assert 0 <= span.start < span.end <= len(text)
