"""Steps shuffled under letters, and the order read back."""

import pytest

from tasks.evaluation.pack.ordering import read_order, score_order
from tasks.evaluation.pack.prompts import order_prompt, right_order, shuffled


@pytest.mark.parametrize(
    "answer",
    [
        "C>A>B",
        "C > A > B",
        "C、A、B",
        "cab",
        "CAB。",
        "正确的顺序是：Ｃ→Ａ→Ｂ",
        "C, A, then B",
        "1. C\n2. A\n3. B",
        "**C** > **A** > **B**",
        "先 C，然后 A，最后 B",
        "A. 收听\nB. 等待\nC. 关窗\n答案：C>A>B",
        "A>B>C 不对，应为 C>A>B",
    ],
)
def test_an_order_is_read_however_it_is_written(answer):
    assert read_order(answer, 3) == "CAB"


@pytest.mark.parametrize("answer", ["", "A>B", "A>B>B", "X>Y>Z", "先关门窗再收听广播", "A>B>C>D", "a cab ride"])
def test_an_incomplete_order_is_none(answer):
    assert read_order(answer, 3) is None


def test_only_the_exact_order_is_right(make_item):
    item = make_item("order")
    expected = right_order(item)
    assert score_order(item, ">".join(expected)) == (1.0, {"expected": expected, "given": expected, "failure": None})
    assert score_order(item, ">".join(expected[::-1]))[1]["failure"] == "wrong_order"
    assert score_order(item, "不知道")[1]["failure"] == "no_order"


def test_the_letters_lead_back_to_the_steps(make_item):
    for number in range(1, 200):
        item = make_item("order", number, steps=["一", "二", "三", "四", "五"])
        lines = order_prompt(item).split("\n")[1:6]
        shown = {line[0]: line[3:] for line in lines}
        assert [shown[letter] for letter in right_order(item)] == item["steps"]
        assert shuffled(item) != list(range(5))
        assert order_prompt(item) == order_prompt(item)


def test_every_place_is_the_first_one_about_as_often(make_item):
    first = [right_order(make_item("order", number))[0] for number in range(1, 301)]
    assert all(50 < first.count(letter) < 160 for letter in "ABC")


def test_steps_written_out_again_are_read_by_their_texts(make_item):
    item = make_item("order")
    right, wrong = item["steps"], item["steps"][::-1]
    for number in ("ABC", "123"):
        lines = [f"{name}. {step}" for name, step in zip(number, right, strict=True)]
        assert score_order(item, "\n".join(lines))[0] == 1
    assert score_order(item, "\n".join(f"- {step}" for step in wrong))[1]["failure"] == "wrong_order"
    assert score_order(item, "，然后".join(right[:2]))[1]["failure"] == "no_order"


def test_steps_in_other_words_are_read_by_the_letters_of_their_lines(make_item):
    item = make_item("order")
    lines = [f"{letter}. 换句话说的一步" for letter in right_order(item)]
    assert score_order(item, "\n".join(lines))[0] == 1


def test_the_options_repeated_before_the_answer_do_not_count(make_item):
    item = make_item("order")
    shown = order_prompt(item).rsplit("\n", 1)[0]
    assert score_order(item, shown)[1]["failure"] == "wrong_order"
    assert score_order(item, f"{shown}\n答案：{'>'.join(right_order(item))}")[0] == 1
