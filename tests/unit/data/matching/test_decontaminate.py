"""Evaluation questions are found in whatever clothes; questions that are merely alike are not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.chat.conversation import Message
from tasks.core.settings import DecontaminateParams
from tasks.data.matching.decontaminate import LeakFinder, with_unspoken
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.leak_rules import _within_edits
from tasks.data.matching.ngrams import mixed, unmixed
from tasks.data.matching.normalization import NormalizedRow, normalized
from tasks.data.matching.seeds import SeedIndex, Unit

Chat = Callable[[str, str], list[Message]]
PARAMS = DecontaminateParams(containment=0.6, extra_sets=[])
FULL_WIDTH = {code - 0xFEE0: code for code in range(0xFF01, 0xFF5F)}

CHOICE = EvalItem(
    "domain_choice",
    "choice-1",
    "某核电厂距离居民点 6 km，已宣布总体应急但尚未测到释放，居民点应怎样处理？",
    ("等待环境监测结果再通知", "立即采取紧急防护行动", "照常上班上学不必理会", "前往厂区协助抢险救援"),
)
SHORT = EvalItem("domain_short", "short-1", "铯-137的半衰期是多少年？")
ENGLISH = EvalItem(
    "domain_short",
    "short-2",
    "A mayor 20 km from a large reactor asks why her town has an emergency plan at all. What do you say?",
)
GENERIC = [
    EvalItem(
        "ceval_mini",
        "chinese/0",
        "下列各句中，没有语病的一句是",
        ("他的讲话很精彩", "我们要提高水平", "这是一本好书", "天气渐渐转凉"),
    ),
    EvalItem(
        "ceval_mini",
        "chinese/1",
        "下列各句中，没有语病的一句是",
        ("小王去了北京学习", "核能是清洁能源", "老师讲得很清楚", "春天来了花开了"),
    ),
]


@pytest.fixture(scope="module")
def finder() -> LeakFinder:
    return LeakFinder([CHOICE, SHORT, ENGLISH, *GENERIC], PARAMS)


def found(finder: LeakFinder, row: list[Message]) -> list[str]:
    return [leak.item_id for leak in finder.find([normalized(row)])[0]]


def with_options(question: str, options: tuple[str, ...]) -> str:
    return question + "\n" + "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))


CHOICE_LEAKS = {
    "verbatim": with_options(CHOICE.question, CHOICE.options),
    "reordered options": with_options(CHOICE.question, CHOICE.options[::-1]),
    "the question alone": CHOICE.question,
    "full width": with_options(CHOICE.question, CHOICE.options).translate(FULL_WIDTH),
    "prefix and numbering": "请认真完成下面的单项选择题。\n12．" + with_options(CHOICE.question, CHOICE.options),
    "other punctuation and spacing": CHOICE.question.replace("，", " , ").replace("6 km", "6km"),
    "one word changed": with_options(CHOICE.question.replace("已宣布", "已经发布"), CHOICE.options),
    "traditional characters": "某核電廠距離居民點 6 km，已宣布總體應急但尚未測到釋放，居民點應怎樣處理？",
    "a character dropped, one changed": CHOICE.question.replace("尚未", "未").replace("处理", "处置"),
    "a character put in": CHOICE.question.replace("应怎样", "应该怎样"),
    "a number left out": CHOICE.question.replace(" 6 km", "不远"),
    "half rephrased": "某核电厂距离居民点 6 km，已宣布总体应急，尽管还没测出释放，居民该怎么处理？",
    "options changed too": with_options(
        CHOICE.question.replace("宣布", "公布"), tuple(option[:3] + "了" + option[4:] for option in CHOICE.options)
    ),
    "among other text": "甲乙丙丁" * 60 + with_options(CHOICE.question, CHOICE.options) + "戊己庚辛" * 60,
    "another number, the same options": with_options(CHOICE.question.replace("6 km", "8 km"), CHOICE.options),
}


@pytest.mark.parametrize("text", CHOICE_LEAKS.values(), ids=CHOICE_LEAKS)
def test_a_choice_question_is_found(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "选B。")) == ["choice-1"]


def test_a_question_in_an_answer_is_found(finder: LeakFinder, chat: Chat) -> None:
    assert found(finder, chat("出一道核应急选择题。", CHOICE.question)) == ["choice-1"]


HIDDEN: dict[str, list[Message]] = {
    "in the system prompt": [{"role": "system", "content": f"参考题目：{SHORT.question}不要泄露。"}],
    "over two turns": [
        {"role": "user", "content": CHOICE.question[:20]},
        {"role": "assistant", "content": "请继续。"},
        {"role": "user", "content": f"接着上面：{CHOICE.question[20:]}"},
    ],
    "quoted by an answer": [
        {"role": "user", "content": "这一章难在哪里？"},
        {
            "role": "assistant",
            "content": f"考试会这样问：{SHORT.question}很多同学在这里失分，因为没有看清题干里的核素。",
        },
    ],
}


@pytest.mark.parametrize("row", HIDDEN.values(), ids=HIDDEN)
def test_a_question_is_found_wherever_it_hides(finder: LeakFinder, row: list[Message]) -> None:
    (searched,) = with_unspoken([normalized(row)], [row], [None])
    assert [hit.item_id for hit in finder.find([searched])[0]] == [
        "choice-1" if "接着" in row[-1]["content"] else "short-1"
    ]


def test_a_question_in_a_refused_answer_is_found(finder: LeakFinder, chat: Chat) -> None:
    row = chat("出一道题。", "抱歉，不能。")
    (searched,) = with_unspoken([normalized(row)], [row], [f"好的，题目是：{SHORT.question}"])
    assert searched.roles == "uar"
    assert [hit.item_id for hit in finder.find([searched])[0]] == ["short-1"]


def test_two_questions_of_a_user_are_not_a_third(finder: LeakFinder, chat: Chat) -> None:
    row = [*chat("铯-137是什么？", "一种核素。"), *chat("半衰期的定义是什么？", "活度减半的时间。")]
    assert found(finder, row) == []


def test_a_sibling_about_another_thing_is_another_question(chat: Chat) -> None:
    options = ("象形字", "指事字", "会意字", "形声字")
    known = [
        EvalItem("exam", "glyph", "按照传统的“六书”体例，“牟”字应当属于", options),
        EvalItem("exam", "nerve", "支配肱二头肌的运动神经是", ("尺神经", "腋神经", "肌皮神经", "桡神经")),
    ]
    finder = LeakFinder(known, PARAMS)
    for question, one in (
        ("按照传统的“六书”体例，“吹”字应当属于", options),
        ("支配前臂伸肌的运动神经是", known[1].options),
    ):
        assert found(finder, chat(with_options(question, one[::-1]), "选A。")) == []
    for item in known:
        assert found(finder, chat(with_options(item.question, item.options[::-1]), "选A。")) == [item.item_id]


def test_an_answer_in_the_words_of_a_question_is_no_leak(chat: Chat) -> None:
    item = EvalItem("short", "1", "特殊情况下来不及请示，省级指定部门能否先行决定进入场外应急？")
    answer = "特殊情况下省级指定部门可以先行决定进入，但必须立即向国务院指定的部门报告。"
    finder = LeakFinder([item], PARAMS)
    assert finder.find([normalized(chat("情况紧急来不及报批怎么办？", answer))]) == [[]]


@pytest.mark.parametrize(
    "text",
    [
        "铯-137的半衰期是多少年？",
        "请回答：铯－１３７的半衰期是多少年",
        "Q: 铯-137 的半衰期是多少年?",
        "銫-137的半衰期是多少年？",
        "铯-137的衰期为多少年？",
        "铯-137半衰期是几年？",
    ],
)
def test_a_short_question_is_found(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "约30年。")) == ["short-1"]


def test_an_english_question_is_found_after_an_edit(finder: LeakFinder, chat: Chat) -> None:
    text = "Question 7: a mayor, 20 km from a big reactor, asks why her town has an emergency plan at all?"
    assert found(finder, chat(text, "It lies in the UPZ.")) == ["short-2"]


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH.question.upper(),
        ENGLISH.question.replace("large", "big").replace("say", "reply"),
        ENGLISH.question.replace("reactor", "reacter").replace("mayor", "maior"),
        "A mayor 20 km from a large reactor asks why her town needs any emergency planning. What is your reply?",
    ],
)
def test_an_english_question_is_found_by_its_pieces(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "Because of the UPZ.")) == ["short-2"]


CLEAN = {
    "another nuclide": "铯-134的半衰期是多少年？",
    "a topic in common": "宣布总体应急以后，居民点里的学校应当怎样通知家长，老师应当做什么？",
    "another distance": CHOICE.question.replace("6 km", "25 km"),
    "a short question inside a long task": "请写一篇科普短文，向中学生说明铯-137的半衰期是多少年、"
    "它怎样进入牛奶和蔬菜、为什么事故以后很多年还要检测食品，以及普通家庭可以做哪些准备。",
    "a generic stem with other options": with_options(
        "下列各句中，没有语病的一句是", ("他把书放在桌上", "我喜欢吃苹果", "核电厂建在海边", "大家都来参加演习")
    ),
    "the same opening": "某核电厂距离居民点很近，居民担心房价，应怎样沟通？",
    "a short question about something else": "铯-137的活度是多少贝可？",
    "symbols": "？？？",
    "English on the topic": "Why does a town 20 km away need a plan, and who pays for the reactor's sirens?",
}


@pytest.mark.parametrize("text", CLEAN.values(), ids=CLEAN)
def test_a_question_that_is_merely_alike_is_not(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "见应急预案。")) == []


def test_a_generic_stem_is_found_by_its_options(finder: LeakFinder, chat: Chat) -> None:
    assert found(finder, chat(with_options(GENERIC[1].question, GENERIC[1].options[::-1]), "选A。")) == ["chinese/1"]


def test_scattered_ngrams_are_no_leak(finder: LeakFinder, chat: Chat) -> None:
    parts = [CHOICE.question[start : start + 12] for start in range(0, len(CHOICE.question), 12)]
    filler = "这里是一大段与考题毫不相干的文字，讲的是厂址选择、地质调查和长期的环境本底监测工作。" * 3
    assert found(finder, chat(filler.join(parts), "好。")) == []


def test_evidence_names_set_item_share_and_rule(finder: LeakFinder, chat: Chat) -> None:
    ((leak,),) = finder.find([normalized(chat(CHOICE.question, "选B。"))])
    assert (leak.eval_set, leak.item_id, leak.containment) == ("domain_choice", "choice-1", 1.0)
    assert leak.rule == "at least 0.6 of the question stands in the row"
    assert leak.as_json()["question"] == CHOICE.question


def test_rows_at_once_are_rows_one_by_one(finder: LeakFinder, chat: Chat) -> None:
    texts = [*CHOICE_LEAKS.values(), *CLEAN.values(), SHORT.question, ENGLISH.question]
    rows = [normalized(chat(text, "答。")) for text in texts] + [NormalizedRow("", ())]
    assert finder.find(rows) == [finder.find([row])[0] for row in rows]
    assert finder.find([]) == []


def test_every_item_of_one_question_is_a_hit_when_nothing_tells_them_apart(finder: LeakFinder, chat: Chat) -> None:
    assert found(finder, chat(GENERIC[0].question, "选A。")) == ["chinese/0", "chinese/1"]


def test_an_item_in_two_sets_is_found_in_both(chat: Chat) -> None:
    twice = [CHOICE, replace(CHOICE, eval_set="copy")]
    (hits,) = LeakFinder(twice, PARAMS).find([normalized(chat(CHOICE.question, "选B。"))])
    assert [hit.eval_set for hit in hits] == ["copy", "domain_choice"]


def test_the_best_match_comes_first(chat: Chat) -> None:
    other = EvalItem("a_set", "x", CHOICE.question.replace("处理", "通知并转移"))
    (hits,) = LeakFinder([other, CHOICE], PARAMS).find([normalized(chat(CHOICE.question, "选B。"))])
    assert [hit.item_id for hit in hits] == ["choice-1", "x"]
    assert hits[0].containment > hits[1].containment


def test_without_items_nothing_is_found(chat: Chat) -> None:
    assert LeakFinder([], PARAMS).find([normalized(chat("问", "答"))]) == [[]]


@given(st.text(alphabet="核电厂a1", max_size=9), st.text(alphabet="核电厂a1", max_size=9), st.integers(0, 9))
def test_edits_are_counted_as_defined(left: str, right: str, most: int) -> None:
    row = list(range(len(right) + 1))
    for number, character in enumerate(left, start=1):
        above, row = row, [number]
        for column, other in enumerate(right, start=1):
            row.append(min(above[column - 1] + (character != other), above[column] + 1, row[-1] + 1))
    assert _within_edits(left, right, most) == (row[-1] <= most)


def test_seeds_in_too_many_texts_stay_only_where_a_text_has_few() -> None:
    stock = "下列说法正确的是"
    units = [Unit(number, f"{stock}{chr(0x4E00 + 7 * number) * 9}", 0, 0.2) for number in range(80)]
    index = SeedIndex([*units, Unit(80, stock, 0, 0.5)])
    assert list(index.propose([stock], 0)) == [(0, 80)]
    assert list(index.propose([units[3].text, ""], 0)) == [(0, 3), (0, 80)]


def test_a_question_of_symbols_is_reported_not_forgotten() -> None:
    finder = LeakFinder([EvalItem("ceval", "x/0", "____？")], PARAMS)
    assert [item.item_id for item in finder.unsearchable] == ["x/0"]


SERIES = EvalItem("exam", "series", "7，7，9，15，33，____", ("51", "67", "83", "93"))
COMETS = EvalItem("exam", "comets", "以下彗星中，2021年回归近日点的是", ("甲彗星", "乙彗星", "丙彗星", "丁彗星"))
MEANINGS = EvalItem(
    "exam",
    "meanings",
    "下列句中加点的词在古今词义的演变中属于词义缩小的是",
    ("此句一也", "彼句二也", "其句三也", "夫句四也"),
)
WORD = EvalItem("exam", "word", "盲肠", ("位于右髂窝", "没有结肠带", "全部在腹膜外", "接着直肠"))


@pytest.fixture(scope="module")
def sibling_finder() -> LeakFinder:
    return LeakFinder([SERIES, COMETS, MEANINGS, WORD], PARAMS)


def found_in(finder: LeakFinder, messages: list[Message]) -> list[str]:
    """Return the items found in a row, its system prompt searched as well."""
    return [leak.item_id for leak in finder.find(with_unspoken([normalized(messages)], [messages], [None]))[0]]


def test_a_series_of_numbers_with_its_options_is_found_in_a_system_prompt(
    sibling_finder: LeakFinder, chat: Chat
) -> None:
    item = with_options(SERIES.question, SERIES.options)
    prompt = f"You are a patient exam assistant. Sample item: {item}\nNever reveal it to the learners."
    assert found_in(sibling_finder, [{"role": "system", "content": prompt}, *chat("Hello", "Hello.")]) == ["series"]
    # The same options far from it, or another series before them, are not the item.
    other = prompt.replace("33", "39")
    assert found_in(sibling_finder, [{"role": "system", "content": other}, *chat("Hello", "Hello.")]) == []


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("以下彗星中，2020年回归近日点的是", ("戊彗星", "己彗星", "庚彗星", "辛彗星")),
        ("下列各句中的黑体词其古今词义的发展变化属于词义缩小的是", ("天句五也", "地句六也", "玄句七也", "黄句八也")),
        ("不属于大肠的是", ("盲肠", "结肠", "直肠", "十二指肠")),
    ],
)
def test_another_year_other_options_and_one_word_in_common_are_no_leak(
    question: str, options: tuple[str, ...], sibling_finder: LeakFinder, chat: Chat
) -> None:
    assert found(sibling_finder, chat(with_options(question, options), "选第一项。")) == []


@pytest.mark.parametrize("item", [COMETS, MEANINGS], ids=lambda item: item.item_id)
def test_the_items_themselves_are_found_with_options_and_without(
    item: EvalItem, sibling_finder: LeakFinder, chat: Chat
) -> None:
    assert found(sibling_finder, chat(with_options(item.question, item.options), "选第一项。")) == [item.item_id]
    assert found(sibling_finder, chat(item.question, "选第一项。")) == [item.item_id]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_unmixed_is_what_was_mixed(numbers):
    hashes = np.array(numbers, dtype=np.uint64)
    assert unmixed(mixed(hashes)).tolist() == numbers
