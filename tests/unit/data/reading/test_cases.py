"""Small files that people reported, written anew: what is read of each row, and what is learnt from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.chat.labels import taught
from tasks.chat.rows import encode_row
from tasks.chat.tokenizer import load_tokenizer
from tasks.data.problems import BadRowError
from tasks.data.reading.formats import parse
from tasks.data.reading.formats.columns import CONTAINERS, PAIRS

Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def user(text: str, **more: Any) -> Row:
    return {"role": "user", "content": text, **more}


def answer(text: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


def human(text: str) -> Row:
    return {"from": "human", "value": text}


def gpt(text: str, **more: Any) -> Row:
    return {"from": "gpt", "value": text, **more}


def block(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def learnt(row: Any, tokenizer: Any) -> list[str]:
    """Return what training takes its loss on."""
    parsed = parse(row)
    tools = json.loads(parsed.tools) if parsed.tools else None
    encoded = encode_row("r", list(parsed.messages), tokenizer, tools, parsed.untaught)
    return [run.text for run in taught(encoded.input_ids, encoded.labels, tokenizer)]


def refusal(row: Any) -> tuple[str, str]:
    with pytest.raises(BadRowError) as refused:
        parse(row)
    return refused.value.reason, refused.value.detail


def cases(number: int, *rows: Any) -> Any:
    """Parameters of a case's rows, by the line of its file."""
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), id=f"case-{number:02}-{line}")
        for line, row in enumerate(rows, start=1)
    ]


WRONG, RIGHT, Q, Q2 = "先回家拿点东西也行。", "听到指令就按路线走，不要返家。", "能先回家吗？", "广播说马上走。"


@pytest.mark.parametrize(
    "row",
    cases(
        2,
        {"messages": [user(Q), answer(WRONG, weight=0), user(Q2), answer(RIGHT, weight=1)]},
        {"messages": [user(Q), answer(WRONG, loss=False), user(Q2), answer(RIGHT, loss=True)]},
        {"conversations": [human(Q), gpt(WRONG, train=False), human(Q2), gpt(RIGHT, train=True)]},
        {"messages": [user(Q), answer(WRONG), user(Q2), answer(RIGHT)], "loss_mask": [0, 0, 0, 1]},
    ),
)
def test_case_02_a_turn_marked_not_to_be_learnt_carries_no_loss(row: Row, tokenizer: Any) -> None:
    assert learnt(row, tokenizer) == [RIGHT]
    parsed = parse(row)
    assert len(parsed.messages) == 4
    assert parsed.notes == ("no loss on turn 2: marked not to be learnt",)


@pytest.mark.parametrize(
    ("row", "mark"),
    cases(
        3,
        ({"messages": [user(Q), answer(WRONG)], "label": False}, "label"),
        ({"messages": [user(Q), answer(RIGHT)], "label": True}, None),
        ({"instruction": Q, "input": "", "output": WRONG, "kto_tag": False}, "kto_tag"),
        ({"instruction": Q, "input": "", "output": WRONG, "label": "false"}, "label"),
    ),
)
def test_case_03_a_row_called_bad_is_refused_by_name(row: Row, mark: str | None, tokenizer: Any) -> None:
    if mark is None:
        assert learnt(row, tokenizer) == [RIGHT]
        return
    reason, detail = refusal(row)
    assert reason == "marked_bad"
    assert detail.startswith(f"`{mark}` says that the answer is bad")


#: Every shape a row of one exchange can have: all containers, all names of question and answer, histories and lists.
SHAPES: list[Row] = [
    *({name: [human(Q), gpt(WRONG)]} for name in CONTAINERS),
    *({name: [user(Q), answer(WRONG)]} for name in CONTAINERS),
    *({asked: Q, answered: WRONG} for asked, answered in PAIRS),
    {"query": Q, "response": WRONG, "history": [["在吗？", "在。"]]},
    {"prompt": [user(Q)], "completion": [answer(WRONG)]},
    {"conversation": [{"system": "教官", "input": Q, "output": WRONG}]},
    {"conversations": {"from": ["human", "gpt"], "value": [Q, WRONG]}},
    {"messages": json.dumps([user(Q), answer(WRONG)])},
    {"Question": Q, "Complex_CoT": "想一想。", "Response": WRONG},
    {"prompt": Q, "chosen": WRONG, "rejected": RIGHT},
]


@pytest.mark.parametrize(
    "mark", [False, 0, -1, "-1", "false", "False", " FALSE ", "0", "no", "否", "undesirable", "Bad", [False]]
)
@pytest.mark.parametrize("name", ["label", "kto_tag", "kto_label", "Label", "KTO_tag"])
def test_case_03_and_20_in_every_shape(name: str, mark: Any) -> None:
    for row in SHAPES:
        assert refusal({**row, name: mark})[0] == "marked_bad", row
        for good in ("true", 1, True, "good", [True], None, "negative", "- 见附件"):
            assert parse({**row, name: good}).untaught == ()
        # It is told how to say that it is no verdict, and saying so helps.
        assert f"columns: {{{name.lower()}: null}}" in refusal({**row, name: mark})[1]
        assert parse({**row, name: mark}, columns={name.lower(): None}).untaught == ()


STATION = {"type": "string", "description": "测点编号"}
CITY = {"type": "string", "description": "城市"}


def padded_tools(**null: Any) -> list[Row]:
    """Return two tools as a table holds them: each has the other's parameters, as null."""
    dose, wind = {"station": STATION, "city": None, "hours": None}, {"station": None, "city": CITY, "hours": null}
    return [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}
        for name, properties in (("read_dose", dose), ("wind", wind))
    ]


def padded(question: str, name: str, arguments: Row, result: str, said: str) -> Row:
    nulls = {"tool_calls": None, "tool_call_id": None}
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    turns = [
        user(question, **nulls),
        answer(None, **nulls | {"tool_calls": [call]}),
        {"role": "tool", "content": result, "tool_calls": None, "tool_call_id": "c1"},
        answer(said, **nulls),
    ]
    return {"messages": turns, "tools": padded_tools(type="integer")}


@pytest.mark.parametrize(
    ("row", "taught_texts"),
    cases(
        4,
        (
            padded("三号？", "read_dose", {"station": "3", "city": None, "hours": None}, "0.11", "三号正常。"),
            [block("read_dose", '{"station": "3"}'), "三号正常。"],
        ),
        (
            padded("风？", "wind", {"station": None, "city": "海州", "hours": 6}, "东南风", "吹东南风。"),
            [block("wind", '{"city": "海州", "hours": 6}'), "吹东南风。"],
        ),
    ),
)
def test_case_04_nulls_of_tables_are_not_taught(row: Row, taught_texts: list[str], tokenizer: Any) -> None:
    assert learnt(row, tokenizer) == taught_texts
    offered = json.loads(parse(row).tools or "")
    properties = [tool["function"]["parameters"]["properties"] for tool in offered]
    assert properties == [{"station": STATION}, {"city": CITY, "hours": {"type": "integer"}}]


THOUGHT = "先看检测值与行动水平。"


@pytest.mark.parametrize(
    "thought",
    cases(
        5,
        {"reasoning": THOUGHT},
        {"reasoning": THOUGHT, "reasoning_content": None},
        {"reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
    ),
)
def test_case_05_a_thought_in_a_field_is_the_row_s_thought(thought: Row, tokenizer: Any) -> None:
    assert learnt({"messages": [user(Q), answer(RIGHT, **thought)]}, tokenizer) == [
        f"<think>\n{THOUGHT}\n</think>\n\n{RIGHT}"
    ]


DECLARED = [{"name": "read_dose", "parameters": {"type": "object", "properties": {"station": {"type": "string"}}}}]

QUOTED = {"name": "read_dose", "arguments": '{"station": "5"}'}


@pytest.mark.parametrize(
    ("row", "called"),
    cases(
        7,
        (
            {
                "conversations": [
                    human("五号？"),
                    {"from": "function_call", "value": json.dumps(QUOTED)},
                    {"from": "observation", "value": "0.2"},
                    gpt(RIGHT),
                ],
                "tools": json.dumps(DECLARED),
            },
            block("read_dose", '{"station": "5"}'),
        ),
        (
            {
                "messages": [
                    user("六号？"),
                    answer("", tool_calls=[{"id": "c1", "type": "function", "function": {
                        "name": "read_dose", "arguments": '"{\\"station\\": \\"6\\"}"'}}]),
                    {"role": "tool", "tool_call_id": "c1", "content": "0.3"},
                    answer(RIGHT),
                ],
                "tools": json.dumps(DECLARED),
            },
            block("read_dose", '{"station": "6"}'),
        ),
        (
            {
                "messages": [
                    user("七号？"),
                    answer("我查一下。", function_call={"name": "read_dose", "arguments": '{"station": "7"}'}),
                    {"role": "function", "name": "read_dose", "content": "0.4"},
                    answer(RIGHT),
                ],
                "functions": DECLARED,
            },
            "我查一下。\n" + block("read_dose", '{"station": "7"}'),
        ),
    ),
)  # fmt: skip
def test_case_07_arguments_have_one_form_however_they_were_quoted(row: Row, called: str, tokenizer: Any) -> None:
    assert learnt(row, tokenizer) == [called, RIGHT]
    assert json.loads(parse(row).tools or "") == DECLARED


@pytest.mark.parametrize(
    ("row", "field"),
    cases(
        13,
        ({"messages": [user("<image>这块牌子？"), answer(RIGHT)], "images": ["signs/0001.jpg"]}, "images"),
        ({"conversations": [human("读数？\n<image>"), gpt(RIGHT)], "image": "meters/0007.jpg"}, "image"),
        ({"messages": [user("处置得对吗？"), answer(RIGHT)], "videos": ["drill/12.mp4"]}, "videos"),
    ),
)
def test_case_13_rows_with_media_are_refused_by_name(row: Row, field: str) -> None:
    reason, detail = refusal(row)
    assert (reason, detail) == ("media", f"`{field}` holds what is no text")


def calling(text: str | None, name: str) -> list[Row]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": '{"gate":"东门"}'}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "关"}
    return [user("东门？"), answer(text, tool_calls=[call]), result, answer(RIGHT)]


CALLED = block("read_gate", '{"gate": "东门"}')


@pytest.mark.parametrize(
    ("row", "said"),
    cases(
        20,
        ({"conversations": calling("我来看看。", "read_gate")}, [f"我来看看。\n{CALLED}", RIGHT]),
        (
            {"conversations": [human(Q), gpt(RIGHT, reasoning_content=THOUGHT)]},
            [f"<think>\n{THOUGHT}\n</think>\n\n{RIGHT}"],
        ),
        ({"conversations": calling(None, "read_gate")}, [CALLED, RIGHT]),
        ({"conversations": [user(Q), answer(WRONG)], "label": False}, None),
    ),
)
def test_case_20_a_turn_is_read_alike_under_every_container(row: Row, said: list[str] | None, tokenizer: Any) -> None:
    mark = {"label": row["label"]} if "label" in row else {}
    for one in ({name: row["conversations"], **mark} for name in CONTAINERS):
        if said is None:
            assert refusal(one)[0] == "marked_bad"
        else:
            assert learnt(one, tokenizer) == said


@pytest.mark.parametrize(
    ("row", "rejected"),
    cases(
        23,
        (
            {"messages": [{**user(Q), "content": [{"type": "text", "text": Q}]},
                          answer([{"type": "text", "text": RIGHT}])]},
            None,
        ),
        ({"prompt": Q, "completion": RIGHT}, None),
        ({"messages": [user(Q), answer(RIGHT), user("谢谢！")]}, None),
        ({"question": Q, "answer": RIGHT}, None),
        ({"prompt": Q, "chosen": RIGHT, "rejected": WRONG}, WRONG),
    ),
)  # fmt: skip
def test_case_23_shapes_that_people_have_are_read(row: Row, rejected: str | None, tokenizer: Any) -> None:
    assert learnt(row, tokenizer) == [RIGHT]
    parsed = parse(row)
    assert [message["content"] for message in parsed.messages] == [Q, RIGHT]
    assert parsed.rejected == rejected
    assert parsed.notes == (("the user's last turn has no answer and is left out",) if "谢谢！" in str(row) else ())
