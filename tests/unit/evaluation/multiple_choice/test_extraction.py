"""Letters read from generated answers: what models really write, and what must not be taken for an answer."""

import json
from pathlib import Path

import pytest

from tasks.evaluation.multiple_choice.extraction import extract_letter
from tasks.exams.schema import LETTERS

#: Answers as models of many styles write them, each with the letter a reader takes from it, null where it gives none.
LABELLED = [
    json.loads(line)
    for line in Path(__file__).with_name("labelled_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
#: The least share of the labelled answers that must be read as labelled.
AGREEMENT = 0.99

#: An answer, then remarks about other options.
CASE_09 = [
    ("A 项说法正确，B 项错误，C 项正确，D 项正确。答案：B。", "B"),
    ("答案是B。解析：A正确；C正确；D正确；只有B错误。", "B"),
    ("本题选C。A项说法正确，B项说法正确，D项说法正确。", "C"),
    ("A\n\n解析：B选项正确，C选项正确，D选项正确，A选项的说法有误。", "A"),
    ("正确答案：D\nA选项：正确。\nB选项：正确。\nC选项：正确。", "D"),
    ("The correct answer is B. Here is why: A is correct for gamma rays, while option B is correct for beta.", "B"),
    ("故本题选B。A项正确。", "B"),
    ("C", "C"),
]

ANSWERS = [
    ("A", "A"),
    ("Ｂ", "B"),
    ("b", "B"),
    ("(C)", "C"),
    ("（Ｃ）", "C"),
    ("**D**", "D"),
    ("答案是A", "A"),
    ("答案：Ｂ", "B"),
    ("答案选C。", "C"),
    ("正确答案是D。", "D"),
    ("正确答案应该是 **B**", "B"),
    ("本题选A", "A"),
    ("故选：C", "C"),
    ("应该选择B选项", "B"),
    ("不选A，应选B", "B"),
    ("A项正确", "A"),
    ("B选项是正确的", "B"),
    ("C不正确，D正确", "D"),
    ("不正确的是A", "A"),
    ("说法错误的是 C", "C"),
    ("The answer is B.", "B"),
    ("The correct answer is (C).", "C"),
    ("Answer: D", "D"),
    ("The correct option is A) shelter", "A"),
    ("B is correct because A is wrong", "B"),
    ("I would choose C", "C"),
    ("A person must shelter. The answer is B", "B"),
    ("$\\boxed{C}$", "C"),
    ("答案不是A，而是B", "B"),
    ("先看A，答案是A？不对。所以答案是B。", "B"),
    ("A. 甲\nB. 乙\nC. 丙\nD. 丁\n答案：B", "B"),
    ("A. 照射前或照射初期", "A"),
    ("B、一周以后", "B"),
    ("D：从不", "D"),
    ("<think>A也许</think>答案：C", "C"),
    ("选项B", "B"),
    ("选B。因为A、C、D都错", "B"),
    ("综上所述，B符合题意", "B"),
    ("根据分析，只有C符合题意。A错误，B错误。", "C"),
    ("Option B", "B"),
    ("C\n\n解析：A错", "C"),
    ("A\n解析：……故选B", "A"),
    ("D是正确答案", "D"),
    ("我认为是B", "B"),
    ("碘片应在照射前服用，因此A当选。", "A"),
    ("答案:C,因为...", "C"),
    ("答案是A,B选项错误", "A"),
    ("Let's think. Therefore, the answer is D.", "D"),
    ("答案为：“D”", "D"),
    ("B。", "B"),
    ("B 选项", "B"),
    ("正确答案：\nB", "B"),
    ("答案解析：本题考查...选C", "C"),
    ("Ⓑ", "B"),
    ("本题答案为选项D", "D"),
    ("所以，正确的选项是：C. 三", "C"),
    ("A is wrong. B is right.", "B"),
    ("D. A patient who", "D"),
    ("题目要求选出不正确的，A正确，B正确，C错误，故选C", "C"),
]
#: No letter, several, a letter that is a word or part of one, a letter called wrong, reasoning without an end.
NO_ANSWER = [
    "A is wrong",
    "A错误，B错误，C错误",
    "A不对",
    "A patient should take iodine",
    "答案是A和B",
    "答案是AB",
    "A、B都对",
    "A或B",
    "A or B",
    "答案不是A",
    "The answer is not A",
    "答案是A。但也可能答案是B",
    "A. 甲\nB. 乙",
    "不知道",
    "",
    "<think>答案是A",
    "照射前",
    "ABCD",
    "DNA",
    "答案是A,B。",
    "The answer is a bit complicated",
    "答案是：A patient",
    "排除A",
    "维生素C",
]


@pytest.mark.parametrize(("text", "letter"), CASE_09)
def test_case_09_remarks_about_options_do_not_take_an_answer_back(text, letter):
    assert extract_letter(text) == letter


@pytest.mark.parametrize(("text", "letter"), ANSWERS)
def test_the_letter_is_read(text, letter):
    assert extract_letter(text) == letter


@pytest.mark.parametrize("text", NO_ANSWER)
def test_an_answer_is_never_guessed(text):
    assert extract_letter(text) is None


@pytest.mark.parametrize("letter", "ABCD")
def test_every_letter_is_read_alike(letter):
    forms = ("答案：{}", "故选{}。", "{}项符合题意", "The answer is ({}).", "{}. 甲", "**{}**", "因此，{}是正确的")
    assert {extract_letter(form.format(letter)) for form in forms} == {letter}


def test_a_long_answer_is_read_in_no_time():
    assert extract_letter("选" * 20_000 + "\n" + "A、" * 20_000 + "\n因此答案是C") == "C"


def test_labelled_answers_of_many_styles_are_read_as_a_reader_reads_them():
    assert len(LABELLED) >= 400
    assert len({row["style"] for row in LABELLED}) >= 6
    wrong = [row["text"] for row in LABELLED if extract_letter(row["text"]) != row["answer"]]
    assert len(wrong) <= (1 - AGREEMENT) * len(LABELLED), wrong


def test_not_one_letter_is_read_from_an_answer_that_gave_none():
    silent = [row["text"] for row in LABELLED if row["answer"] is None]
    assert len(silent) > 200
    assert [text for text in silent if extract_letter(text) is not None] == []


@pytest.mark.parametrize("shift", range(8))
def test_no_letter_is_read_that_is_no_option(shift):
    """The same answers about other letters: E to H are read as letters, and never returned."""
    table = {ord(letter): "ABCDEFGH"[(place + shift) % 8] for place, letter in enumerate("ABCDEFGH")}
    found = {extract_letter(row["text"].translate(table)) for row in LABELLED}
    assert found <= {*LETTERS, None}
    if shift == 4:
        assert extract_letter("答案是A。".translate(table)) is None


#: A statement of the answer, and remarks about the other options around it.
REMARKS = [
    ("A项无误，B项写错了单位，C项无误，D项无误。答案：B。", "B"),
    ("答案是B。解析：A对；C对；D对；错的只有B。", "B"),
    ("本题选C。A项表述正确，D项表述正确。", "C"),
    ("A\n\n解析：B选项正确，D选项正确，A选项的说法有误。", "A"),
    ("正确答案：D\nA选项：正确。\nB选项：正确。", "D"),
    ("The correct answer is B. Note that A is correct for X-rays, while option B is correct for electrons.", "B"),
    ("故本题选B。C项正确。", "B"),
]


@pytest.mark.parametrize(("text", "letter"), REMARKS)
def test_a_statement_beats_remarks_about_options(text, letter):
    assert extract_letter(text) == letter


def test_an_answer_inside_a_thought_that_the_prompt_opened_is_not_read():
    assert extract_letter("应该是B。答案：B", thinking_opened=True) is None
    assert extract_letter("应该是B。</think>答案：C", thinking_opened=True) == "C"
    assert extract_letter("应该是B。答案：B") == "B"
