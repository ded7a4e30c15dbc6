"""Records under one long instruction and rows of one template: their answers make them rows of their own."""

from collections.abc import Callable
from typing import Any

RULE = (
    "你是一名值班日志分类员。请阅读下面的一条值班记录，判断它属于哪一类。类别只有三种：正常、异常、紧急。判断规则如下："
    "读数在限值以内且设备稳定的为正常；读数接近限值或者设备报警一次后已经复位的为异常；读数超过限值、报警无法复位或者"
    "需要人员撤离的为紧急。只输出类别名称，不要解释原因，不要加标点符号，不要重复题目。值班记录："
)
RECORDS = {
    "一号门读数平稳，没有报警。": "正常",
    "一号门读数超限，需要撤离。": "紧急",
    "二号泵报警一次，已经复位。": "异常",
    "二号泵报警不断，无法复位。": "紧急",
    "三号井水位稳定，读数正常。": "正常",
    "三号井读数接近限值。": "异常",
    "四号厂房风机停转，读数超限。": "紧急",
    "四号厂房一切稳定。": "正常",
    "五号探头误报一次，已复位。": "异常",
    "五号探头读数很低，稳定。": "正常",
    "六号取样口读数超过限值。": "紧急",
    "六号取样口读数在限值以内。": "正常",
}
QUESTION = (
    "I need {} filter cartridges at 26.5 each for the ventilation room of building two, how much will the whole order"
    " cost in total?"
)
ANSWER = (
    "<think>\nI multiply the number of cartridges by the price of one cartridge to get the total.\n</think>\n\n"
    "The whole order of {} filter cartridges at 26.5 each will cost {} in total, before any fees or taxes."
)

Alpaca = Callable[[str, str], dict[str, Any]]


def test_case_11_twelve_records_under_one_instruction_are_twelve_rows(project: Any, alpaca_row: Alpaca) -> None:
    project.write("rows.jsonl", [alpaca_row(RULE + record, label) for record, label in RECORDS.items()])
    project.prepare()
    assert project.summary()["rows"]["kept"] == len(RECORDS)


def test_case_22_one_template_with_another_answer_is_another_row(project: Any, alpaca_row: Alpaca) -> None:
    orders = [(40, 1060), (12, 318)]
    project.write("rows.jsonl", [alpaca_row(QUESTION.format(n), ANSWER.format(n, total)) for n, total in orders])
    project.prepare()
    assert project.summary()["rows"]["kept"] == len(orders)


def test_the_same_record_twice_is_still_one_row(project: Any, alpaca_row: Alpaca) -> None:
    record = next(iter(RECORDS))
    project.write("rows.jsonl", [alpaca_row(RULE + record, "正常"), alpaca_row(RULE + record + " ", "正常")])
    project.prepare()
    assert project.summary()["rows"]["kept"] == 1
