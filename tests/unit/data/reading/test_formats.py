"""Raw rows of the three formats become chats; damaged ones are refused with a reason code."""

import json
from typing import Any

import pytest

from tasks.data.problems import QUARANTINE_REASONS, BadRowError
from tasks.data.reading.formats import parse

THOUGHT = "先看时间：照射开始前24小时内服用效果最好，之后逐渐变差。"
ENGLISH = "Take it when the health authorities say so, best within the day before exposure begins."
U, A = "碘片什么时候服用？", "接到卫生部门通知后服用，最好在照射开始前24 h内。"


def sharegpt(*turns: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns], **fields}


def messages(*turns: tuple[Any, ...]) -> dict[str, Any]:
    names = ("role", "content", "thinking")
    return {"messages": [dict(zip(names, turn, strict=False)) for turn in turns]}


def roles_and_texts(row: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in parse(row).messages]


def test_alpaca_with_input_system_and_history() -> None:
    row = {
        "instruction": U,
        "input": "我38岁。",
        "output": A,
        "system": "你是值班助手。",
        "history": [["在吗？", "在。"]],
        "concept": "iodine_thyroid_blocking",
    }
    parsed = parse(row)
    assert (parsed.format, parsed.language, parsed.concept) == ("alpaca", "zh", "iodine_thyroid_blocking")
    assert roles_and_texts(row) == [
        ("system", "你是值班助手。"),
        ("user", "在吗？"),
        ("assistant", "在。"),
        ("user", f"{U}\n我38岁。"),
        ("assistant", A),
    ]


def test_alpaca_null_optional_fields_are_absent_ones() -> None:
    row = {"instruction": U, "input": None, "output": A, "system": None, "history": None}
    assert roles_and_texts(row) == [("user", U), ("assistant", A)]


def test_sharegpt_many_turns_and_both_spellings_of_roles() -> None:
    row = sharegpt(("system", "S"), ("human", U), ("gpt", A), ("user", "多久？"), ("assistant", "一次即可。"))
    assert parse(row).format == "sharegpt"
    assert [role for role, _ in roles_and_texts(row)] == ["system", "user", "assistant", "user", "assistant"]


def test_thinking_is_folded_and_developer_joins_the_system_turn() -> None:
    row = messages(
        ("system", "语言：中文", None),
        ("developer", "你是助手。", None),
        ("user", U, None),
        ("assistant", A, "先看时间。"),
    )
    parsed = parse(row | {"reasoning_language": "Chinese"})
    assert parsed.format == "multilingual_thinking"
    assert roles_and_texts(row) == [
        ("system", "语言：中文\n\n你是助手。"),
        ("user", U),
        ("assistant", f"<think>\n先看时间。\n</think>\n\n{A}"),
    ]


def test_think_block_in_an_answer_takes_the_same_form() -> None:
    row = {"instruction": U, "output": f"<think>先看时间。</think>{A}"}
    assert roles_and_texts(row)[-1] == ("assistant", f"<think>\n先看时间。\n</think>\n\n{A}")


def test_english_with_a_chinese_term_is_english() -> None:
    row = {
        "instruction": "What does 隐蔽 mean in the Chinese plan?",
        "output": "It means sheltering: go inside and stay.",
    }
    assert parse(row).language == "en"


def test_sharegpt_calls_and_observations() -> None:
    call, found = '{"name": "wind", "arguments": {"height_m": 10}}', '{"m_s": 3}'
    row = sharegpt(
        ("human", U), ("function_call", call), ("observation", found), ("gpt", A), tools='[{"name": "wind"}]'
    )
    parsed = parse(row)
    assert parsed.tools == '[{"name": "wind"}]'
    assert roles_and_texts(row)[1:] == [
        ("assistant", f"<tool_call>\n{call}\n</tool_call>"),
        ("tool", found),
        ("assistant", A),
    ]


def test_openai_calls_take_the_same_form_and_several_stand_in_one_turn() -> None:
    calls = [{"id": "1", "function": {"name": "wind", "arguments": '{"height_m": 10}'}}, {"function": {"name": "rain"}}]
    turns = [
        {"role": "user", "content": U},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "3 m/s", "tool_call_id": "1"},
        {"role": "tool", "content": "0 mm"},
        {"role": "assistant", "content": A, "tool_calls": None},
    ]
    parsed = parse({"messages": turns, "tools": [{"type": "function"}]})
    assert (parsed.format, parsed.tools) == ("messages", '[{"type": "function"}]')
    assert [message["role"] for message in parsed.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert parsed.messages[1]["content"] == (
        '<tool_call>\n{"name": "wind", "arguments": {"height_m": 10}}\n</tool_call>\n'
        '<tool_call>\n{"name": "rain", "arguments": {}}\n</tool_call>'
    )


TRL_TURNS = [{"role": "user", "content": U}, {"role": "assistant", "content": A}]
PREFERENCES = [
    {"prompt": U, "chosen": A, "rejected": "不知道"},
    {"instruction": U, "input": "", "chosen": A, "rejected": "不知道"},
    {
        "conversations": [{"from": "human", "value": U}],
        "chosen": {"from": "gpt", "value": A},
        "rejected": {"from": "gpt", "value": "不知道"},
    },
    {"chosen": TRL_TURNS, "rejected": [TRL_TURNS[0], {"role": "assistant", "content": "不知道"}]},
    {"prompt": TRL_TURNS[:1], "chosen": TRL_TURNS[1:], "rejected": [{"role": "assistant", "content": "不知道"}]},
]


@pytest.mark.parametrize("row", PREFERENCES)
def test_preference_rows_answer_with_the_chosen_and_keep_the_rejected(row: Any) -> None:
    parsed = parse(row)
    assert (parsed.format, parsed.rejected) == ("preference", "不知道")
    assert roles_and_texts(row) == [("user", U), ("assistant", A)]


def test_columns_of_a_table_hold_turns_as_json_text_and_empty_ones_say_nothing() -> None:
    turns = json.dumps([{"from": "human", "value": U}, {"from": "gpt", "value": A}])
    assert roles_and_texts({"instruction": "", "output": None, "conversations": turns, "messages": ""}) == [
        ("user", U),
        ("assistant", A),
    ]
    row = {"instruction": U, "output": A, "history": json.dumps([["在吗？", "在。"]]), "conversations": None}
    assert [role for role, _ in roles_and_texts(row)] == ["user", "assistant", "user", "assistant"]


def test_a_stated_format_is_not_guessed() -> None:
    row = {"instruction": U, "output": A, "messages": [{"role": "user", "content": "别的"}]}
    assert parse(row, "alpaca").format == "alpaca"
    with pytest.raises(BadRowError, match="missing_field"):
        parse({"conversations": []}, "alpaca")


def test_repaired_text_is_on_record_and_can_be_refused_instead() -> None:
    row = {"instruction": U, "output": "碘片只防放射性碘的吸收吧".encode().decode("gb18030")}
    parsed = parse(row)
    assert parsed.messages[1]["content"] == "碘片只防放射性碘的吸收吧"
    assert parsed.repairs == ({"field": "messages.1", "read_as": "gb18030"},)
    with pytest.raises(BadRowError, match="mojibake"):
        parse(row, repair_mojibake=False)


def test_reasoning_and_answer_may_differ_where_the_question_explains_it() -> None:
    def row(question: str, answer: str, thought: str, language: str) -> Any:
        return {"reasoning_language": language, **messages(("user", question), ("assistant", answer, thought))}

    parse(row(ENGLISH + "?", ENGLISH, THOUGHT, "Chinese"))
    parse(row("请把这句话翻译成英文：碘片应在接到通知后服用。", ENGLISH, THOUGHT, "Chinese"))
    parse(row(U, "```python\nfor hour in range(24): take(pill, hour) or wait for the next one\n```", THOUGHT, "zh"))
    parse(row(U, "OK", THOUGHT, "Chinese"))


def test_answers_that_only_look_like_reasoning_are_kept() -> None:
    for answer in ("我需要先思考三件事：距离、时间、屏蔽。", "首先关闭门窗。\n\n最终答案：隐蔽。", "Let me think: no."):
        assert parse({"instruction": U, "output": answer}).messages[1]["content"] == answer


def test_ten_thousand_turns() -> None:
    row = sharegpt(*[("human", U), ("gpt", A)] * 5_000)
    assert len(parse(row).messages) == 10_000
    row["conversations"].insert(5_000, {"from": "gpt", "value": A})
    with pytest.raises(BadRowError, match="wrong_role_order"):
        parse(row)


BAD_ROWS: list[tuple[str, Any]] = [
    ("not_an_object", ["指令", "回答"]),
    ("not_an_object", None),
    ("unknown_format", {"text": U}),
    ("unknown_format", {"冷却": U, "加热": A}),
    ("missing_field", {"prompt": U, "chosen": A}),
    ("missing_field", {"chosen": A, "rejected": "不知道"}),
    ("wrong_type", {"prompt": U, "chosen": [A], "rejected": "不知道"}),
    ("wrong_type", {"prompt": U, "chosen": A, "rejected": None}),
    ("wrong_role_order", {"prompt": U, "chosen": [{"role": "user", "content": U}], "rejected": "不知道"}),
    ("empty_turn", {"prompt": U, "chosen": A, "rejected": " "}),
    ("wrong_type", {"messages": "[{没有结束"}),
    ("wrong_type", {"messages": None}),
    ("wrong_type", {"conversations": [None, None]}),
    ("missing_field", {"output": A}),
    ("missing_field", {"instruction": U}),
    ("missing_field", {"conversations": [{"from": "human"}, {"from": "gpt", "value": A}]}),
    ("missing_field", {"conversations": [{"value": U}]}),
    ("wrong_type", {"instruction": 3, "output": A}),
    ("wrong_type", {"instruction": U, "output": None}),
    ("wrong_type", {"instruction": U, "output": A, "history": "没有"}),
    ("wrong_type", {"instruction": U, "output": A, "history": [["只有一句"]]}),
    ("wrong_type", {"conversations": "无"}),
    ("wrong_type", {"conversations": ["human", "gpt"]}),
    ("wrong_type", {"conversations": [{"from": 1, "value": U}]}),
    ("wrong_type", messages(("user", [3], None), ("assistant", A, None))),
    ("wrong_type", messages(("user", [{"type": "table", "rows": 3}], None), ("assistant", A, None))),
    ("unknown_role", sharegpt(("human", U), ("narrator", A))),
    ("malformed_tool_call", sharegpt(("human", U), ("function_call", "查天气"), ("observation", "{}"), ("gpt", A))),
    ("malformed_tool_call", sharegpt(("human", U), ("function_call", "{}"), ("observation", "{}"), ("gpt", A))),
    ("malformed_tool_call", sharegpt(("human", U), ("function_call", "[]"), ("observation", "{}"), ("gpt", A))),
    ("malformed_tool_call", sharegpt(("human", U), ("gpt", A), tools="不是JSON")),
    ("malformed_tool_call", sharegpt(("human", U), ("gpt", A), tools='{"name": "f"}')),
    (
        "malformed_tool_call",
        {"messages": [{"role": "user", "content": U, "tool_calls": [{"name": "f"}]}]},
    ),
    ("malformed_tool_call", {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"function": None}]}]}),
    ("wrong_role_order", messages(("user", U, None), ("tool", "{}", None), ("assistant", A, None))),
    ("wrong_role_order", sharegpt(("human", U), ("function_call", '{"name": "f"}'), ("gpt", A))),
    ("wrong_role_order", sharegpt(("human", U), ("function_call", '{"name": "f"}'), ("observation", "1"))),
    ("wrong_role_order", sharegpt(("gpt", A), ("human", U), ("gpt", A))),
    ("wrong_role_order", sharegpt(("human", U), ("human", U), ("gpt", A))),
    ("wrong_role_order", sharegpt(("human", U), ("human", U))),
    ("wrong_role_order", sharegpt(("human", U), ("system", "S"), ("gpt", A))),
    ("empty_turn", sharegpt()),
    ("empty_turn", sharegpt(("system", "只有系统提示"))),
    ("empty_turn", {"instruction": U, "output": "  \n"}),
    ("empty_turn", {"instruction": "　", "output": A}),
    ("reasoning_without_answer", messages(("user", U, None), ("assistant", " ", "想了很多。"))),
    ("reasoning_without_answer", {"instruction": U, "output": "<think>想了很多。</think>"}),
    ("unclosed_think", {"instruction": U, "output": f"<think>想{A}"}),
    ("unopened_think", {"instruction": U, "output": f"想</think>{A}"}),
    ("nested_think", {"instruction": U, "output": f"<think>想<think>再想</think></think>{A}"}),
    ("nested_think", messages(("user", U, None), ("assistant", f"<think>一</think>{A}", "二"))),
    ("nested_think", messages(("user", U, None), ("assistant", A, "一</think>二"))),
    ("misplaced_think", {"instruction": U, "output": f"先答。<think>想</think>{A}"}),
    ("misplaced_think", {"instruction": U, "output": f"</think>{A}<think>"}),
    ("misplaced_think", messages(("user", U, "用户在想"), ("assistant", A, None))),
    ("invalid_text", {"instruction": U, "output": "\ud800断开的代理对"}),
    ("invalid_text", {"instruction": "有\x00字符", "output": A}),
    ("mojibake", {"instruction": U, "output": "绋冲畾鎬х�樺彧鑳"}),
    ("mojibake", {"instruction": U, "output": "碘片只防放射性碘的吸收".encode().decode("gb18030", "replace")}),
    ("mojibake", {"instruction": "锟斤拷锟斤拷", "output": A}),
    ("untagged_reasoning", {"instruction": U, "output": f"我需要思考一下，先看时间。\n\n最终答案：{A}"}),
    (
        "untagged_reasoning",
        {"instruction": "When?", "output": "Okay, so they ask when.\n\nFinal answer: now."},
    ),
    ("untagged_reasoning", {"instruction": U, "output": f"<thinking>先看时间。</thinking>{A}"}),
    ("language_mismatch", {"reasoning_language": "English", **messages(("user", U), ("assistant", A, THOUGHT * 2))}),
    ("language_mismatch", {"reasoning_language": "Chinese", **messages(("user", U), ("assistant", ENGLISH, THOUGHT))}),
    ("unsupported_language", {"reasoning_language": "French", **messages(("user", U), ("assistant", A, THOUGHT))}),
    ("unclear_mark", sharegpt(("human", U), ("gpt", A), loss_mask=[1, 0, 1])),
    ("media", {"instruction": U, "output": A, "images": ["a.jpg"]}),
    ("marked_bad", {"instruction": U, "output": A, "kto_tag": "false"}),
    ("nothing_to_learn", {"instruction": U, "output": A, "loss": False}),
    (
        "orphan_result",
        sharegpt(
            ("human", U), ("function_call", '{"name": "f"}'), ("observation", "1"), ("observation", "2"), ("gpt", A)
        ),
    ),
    ("unsupported_language", {"instruction": "Что такое укрытие?", "output": "Войдите в здание и закройте окна."}),
]


@pytest.mark.parametrize(("reason", "row"), BAD_ROWS)
def test_bad_rows_are_refused_with_their_reason(reason: str, row: Any) -> None:
    with pytest.raises(BadRowError) as refused:
        parse(row)
    assert refused.value.reason == reason


#: Reasons that reading gives before a row is parsed, and those of later passes.
NOT_PARSING = {"malformed_json", "malformed_encoding", "malformed_csv", "oversized", "damaged_file"} | {
    "special_token",
    "template_refuses",
}


def test_every_reason_a_parsed_row_can_have_is_tried_here() -> None:
    assert {reason for reason, _ in BAD_ROWS} == set(QUARANTINE_REASONS) - NOT_PARSING


def test_why_a_row_is_refused_never_quotes_the_row() -> None:
    row = sharegpt(("human", "电话13800138000"), ("13900139000", "电话13800138000"))
    with pytest.raises(BadRowError) as refused:
        parse(row)
    assert "138" not in str(refused.value)
    assert "139" not in str(refused.value)


def test_roles_are_said_in_words_and_columns_with_the_mapping_to_write() -> None:
    with pytest.raises(BadRowError) as refused:
        parse(sharegpt(("human", U), ("human", U), ("gpt", A)))
    assert "turns 1 and 2 are both the user's" in refused.value.detail
    with pytest.raises(BadRowError) as refused:
        parse({"提问内容": U, "专家答复": A, "13800138000": "x"})
    assert "`提问内容`, `专家答复` and 1 more" in refused.value.detail
    assert "columns: {instruction: 提问内容, output: 专家答复}" in refused.value.detail
    # Under the names that the file has; what is asked and answered is longer than what kind it is of.
    with pytest.raises(BadRowError) as refused:
        parse({"Kind": "QA", "Q": U, "A": A})
    assert "`Kind`, `Q`, `A`" in refused.value.detail
    assert "columns: {instruction: Q, output: A}" in refused.value.detail
