"""Two rows are one only where all that differs is slight: talk, particles, a slip of the hand. Answers decide."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.matching.normalization import normalized
from tasks.data.matching.talk import core
from tasks.data.matching.wording import Wording, _facts_in, core_keys, differences, fact_keys, slight

QUESTION = "放射性碘释放以后，公众应当在什么时间服用稳定碘片？"
ANSWER = (
    "公众应当在接到卫生部门的通知以后尽快服用稳定碘片，最好在放射性碘到达以前或者到达以后的两小时内服用，"
    "每人130毫克，对碘过敏的人不得服用。"
)
ENGLISH = (
    "When the pressure rises above 15 MPa the operator opens the relief valve of the pressurizer and watches the level."
)


def wording(question: str, answer: str) -> Wording:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Wording(normalized(messages))


def are_one(left: tuple[str, str], right: tuple[str, str]) -> bool:
    """Judge as the passes do: equal but for talk, or of the same facts and slightly different."""
    rows = [wording(*left), wording(*right)]
    cores, facts = core_keys(rows), fact_keys(rows, ["", ""])
    return bool(cores[0] == cores[1]) or (bool(facts[0] == facts[1]) and slight(*rows))


@pytest.mark.parametrize(
    "other",
    [
        (f"您好，请问：{QUESTION}谢谢！", ANSWER),
        (f"第3题：{QUESTION}", f"好的，{ANSWER}希望对您有帮助。"),
        (f"我在复习辐射防护课程，麻烦解答：{QUESTION}", ANSWER),
        (QUESTION.replace("公众应当在", "公众应当再"), ANSWER),
        (QUESTION.replace("服用", "用服"), ANSWER),
        (QUESTION, ANSWER.replace("两小时内", "两小时内内")),
        (QUESTION, ANSWER.replace("卫生部门", "卫生部们")),
        (QUESTION.replace("的", ""), ANSWER.replace("以后的", "以后")),
    ],
)
def test_slight_differences_are_none(other: tuple[str, str]) -> None:
    assert are_one((QUESTION, ANSWER), other)


@pytest.mark.parametrize(
    "other",
    [
        (QUESTION, ANSWER.replace("130", "16")),
        (QUESTION, ANSWER.replace("毫克", "微克")),
        (QUESTION, ANSWER.replace("两小时", "三小时")),
        (QUESTION, ANSWER.replace("不得服用", "可以服用")),
        (QUESTION.replace("公众", "婴儿"), ANSWER.replace("公众", "婴儿")),
        (QUESTION.replace("碘片", "铯片"), ANSWER),
        (QUESTION.replace("公众", "旅客"), ANSWER),
        (QUESTION, ANSWER.replace("卫生部门", "交通部门")),
        (QUESTION, ANSWER.replace("碘过敏", "酒过敏")),
        (QUESTION.replace("应当", "不应当"), ANSWER),
        (f"{QUESTION}孕妇可以服用吗？", f"{ANSWER}孕妇可以服用一次。"),
    ],
)
def test_what_says_something_else_is_another_row(other: tuple[str, str]) -> None:
    assert not are_one((QUESTION, ANSWER), other)


def test_labels_decide_whatever_the_instruction_shares() -> None:
    instruction = "请判断下面的值班记录属于正常、异常还是紧急，只输出类别名称。" * 6
    assert not are_one((f"{instruction}读数平稳。", "正常"), (f"{instruction}读数超限。", "紧急"))
    assert not are_one((f"{instruction}一号门读数平稳。", "正常"), (f"{instruction}三号井水位稳定。", "正常"))
    assert are_one((f"{instruction}读数平稳。", "正常"), (f"你好，{instruction}读数平稳！", "好的，正常。"))


@pytest.mark.parametrize(
    ("old", "new", "one"),
    [
        ("operator", "operater", True), ("the level", "level", True), ("pressurizer", "presurizer", True),
        ("above", "below", False), ("opens", "closes", False), ("15 MPa", "16 MPa", False), ("MPa", "kPa", False),
    ],
)  # fmt: skip
def test_english_words(old: str, new: str, one: bool) -> None:
    assert are_one(("What happens then?", ENGLISH), ("What happens then?", ENGLISH.replace(old, new))) is one


def test_a_turn_of_nothing_but_talk_keeps_it() -> None:
    assert core("好的") == "好的"
    assert core("谢谢") != core("好的")
    assert core("请问铯是什么呢谢谢") == "铯是什么"
    assert core("please tell me what caesium is thanks a lot") == "what caesium is"


def test_endless_talk_takes_no_time() -> None:
    start = time.process_time()
    for text in (
        "的问题" * 4000 + "甲",
        "甲" + "的问题" * 4000,
        "please answer " * 4000 + "x",
        "x" + " thanks a lot" * 4000,
    ):
        core(text)
    assert time.process_time() - start < 1


def test_the_ledger_is_told_what_differs() -> None:
    rows = [
        normalized([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}])
        for answer in (ANSWER, ANSWER.replace("卫生部门", "卫生部们"))
    ]
    assert differences(*rows) == [{"turn": "2a", "row": "门", "kept": "们"}]


def test_who_was_masked_makes_two_rows() -> None:
    rows = [wording(QUESTION, ANSWER)] * 2
    left, right = fact_keys(rows, ["甲某", "乙某"])
    assert left != right


@given(st.lists(st.text("09٣.不没a \x1f中", max_size=12), max_size=5))
def test_facts_of_many_texts_are_the_runs_of_each(texts):
    assert _facts_in(texts) == [" ".join(re.findall(r"[\d.不没未无勿非]+", text)) for text in texts]
