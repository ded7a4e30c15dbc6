"""Evaluation questions are found in whatever clothes; questions that are merely alike are not."""

from collections.abc import Callable

import pytest

from tasks.core.settings import DecontaminateParams
from tasks.data.conversation import ChatRow
from tasks.data.matching.decontaminate import LeakFinder
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.normalization import normalized

Chat = Callable[..., ChatRow]
PARAMS = DecontaminateParams(ngram_characters=8, containment=0.6, extra_sets=[])
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


def found(finder: LeakFinder, row: ChatRow) -> list[str]:
    return [leak.item_id for leak in finder.find([normalized(row.messages)])[0]]


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
    "another number, the same options": with_options(CHOICE.question.replace("6 km", "8 km"), CHOICE.options),
}


@pytest.mark.parametrize("text", CHOICE_LEAKS.values(), ids=CHOICE_LEAKS)
def test_a_choice_question_is_found(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "选B。")) == ["choice-1"]


def test_a_question_in_an_answer_is_found(finder: LeakFinder, chat: Chat) -> None:
    assert found(finder, chat("出一道核应急选择题。", CHOICE.question)) == ["choice-1"]


@pytest.mark.parametrize(
    "text", ["铯-137的半衰期是多少年？", "请回答：铯－１３７的半衰期是多少年", "Q: 铯-137 的半衰期是多少年?"]
)
def test_a_short_question_is_found(finder: LeakFinder, chat: Chat, text: str) -> None:
    assert found(finder, chat(text, "约30年。")) == ["short-1"]


def test_an_english_question_is_found_after_an_edit(finder: LeakFinder, chat: Chat) -> None:
    text = "Question 7: a mayor, 20 km from a big reactor, asks why her town has an emergency plan at all?"
    assert found(finder, chat(text, "It lies in the UPZ.", language="en")) == ["short-2"]


CLEAN = {
    "another nuclide": "铯-134的半衰期是多少年？",
    "a topic in common": "宣布总体应急以后，居民点里的学校应当怎样通知家长，老师应当做什么？",
    "another distance": CHOICE.question.replace("6 km", "25 km"),
    "a short question inside a long task": "请写一篇科普短文，向中学生说明铯-137的半衰期是多少年、"
    "它怎样进入牛奶和蔬菜、为什么事故以后很多年还要检测食品，以及普通家庭可以做哪些准备。",
    "a generic stem with other options": with_options(
        "下列各句中，没有语病的一句是", ("他把书放在桌上", "我喜欢吃苹果", "核电厂建在海边", "大家都来参加演习")
    ),
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
    ((leak,),) = finder.find([normalized(chat(CHOICE.question, "选B。").messages)])
    assert (leak.eval_set, leak.item_id, leak.containment) == ("domain_choice", "choice-1", 1.0)
    assert "8-grams" in leak.rule


def test_a_question_of_symbols_is_reported_not_forgotten() -> None:
    finder = LeakFinder([EvalItem("ceval", "x/0", "____？")], PARAMS)
    assert [item.item_id for item in finder.unsearchable] == ["x/0"]
