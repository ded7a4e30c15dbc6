"""Raw rows of the three formats become chats; damaged ones are refused with a reason code."""

from typing import Any

import pytest

from tasks.data.reading.formats import parse
from tasks.data.problems import QUARANTINE_REASONS, BadRowError

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


BAD_ROWS: list[tuple[str, Any]] = [
    ("not_an_object", ["指令", "回答"]),
    ("not_an_object", None),
    ("unknown_format", {"question": U, "answer": A}),
    ("unknown_format", {"prompt": U, "chosen": A, "rejected": "不知道"}),
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
    ("wrong_type", messages(("user", [{"type": "text", "text": U}], None), ("assistant", A, None))),
    ("unknown_role", sharegpt(("human", U), ("narrator", A))),
    ("tool_role", sharegpt(("human", U), ("function_call", "{}"), ("observation", "{}"), ("gpt", A))),
    ("tool_role", sharegpt(("human", U), ("gpt", A), tools="[{}]")),
    ("tool_role", messages(("user", U, None), ("tool", "{}", None), ("assistant", A, None))),
    ("wrong_role_order", sharegpt(("gpt", A), ("human", U), ("gpt", A))),
    ("wrong_role_order", sharegpt(("human", U), ("human", U), ("gpt", A))),
    ("wrong_role_order", sharegpt(("human", U), ("gpt", A), ("human", U))),
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
    ("mojibake", {"instruction": "纰樼墖", "output": "绋冲畾鎬х�樺彧鑳"}),
    ("mojibake", {"instruction": U, "output": "碘片只防放射性碘的吸收".encode().decode("gb18030", "replace")}),
    ("mojibake", {"instruction": U, "output": "naïve résumé déjà vu café".encode().decode("cp1252")}),
    ("unsupported_language", {"instruction": "Что такое укрытие?", "output": "Войдите в здание и закройте окна."}),
]


@pytest.mark.parametrize(("reason", "row"), BAD_ROWS)
def test_bad_rows_are_refused_with_their_reason(reason: str, row: Any) -> None:
    with pytest.raises(BadRowError) as refused:
        parse(row)
    assert refused.value.reason == reason


def test_every_reason_a_parsed_row_can_have_is_tried_here() -> None:
    unreadable = {"malformed_json", "malformed_encoding"}
    assert {reason for reason, _ in BAD_ROWS} == set(QUARANTINE_REASONS) - unreadable


def test_why_a_row_is_refused_never_quotes_the_row() -> None:
    row = sharegpt(("human", "电话13800138000"), ("13900139000", "电话13800138000"))
    with pytest.raises(BadRowError) as refused:
        parse(row)
    assert "138" not in str(refused.value)
    assert "139" not in str(refused.value)
