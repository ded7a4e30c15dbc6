"""Calls and results in every form and container: one form, in the order of the calls, without nulls of tables."""

import json
from typing import Any

import pytest

from tasks.data.reading.formats import parse
from tests.unit.data.reading.test_meaning import CONTAINERS, A, Q, refusal, turns

WANTED = '<tool_call>\n{"name": "read", "arguments": {"门": "东"}}\n</tool_call>'
ARGUMENTS = {"门": "东"}
AS_TEXT = json.dumps(ARGUMENTS, ensure_ascii=False)
#: Every way to write one call -> its turn's fields beside role and content.
CALLS: list[dict[str, Any]] = [
    {"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": AS_TEXT}}]},
    {"tool_calls": [{"id": "c1", "function": {"name": "read", "arguments": ARGUMENTS}}]},
    {"tool_calls": [{"id": "c1", "function": {"name": "read", "arguments": json.dumps(AS_TEXT)}}]},
    {"tool_calls": json.dumps([{"id": "c1", "name": "read", "arguments": AS_TEXT}])},
    {"tool_calls": [json.dumps({"id": "c1", "function": {"name": "read", "arguments": ARGUMENTS}})]},
    {"function_call": {"name": "read", "arguments": AS_TEXT}},
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("text", ["我去看看。", None, ""])
def test_a_call_has_one_form_beside_a_sentence_or_alone(container: str, call: Any, text: Any) -> None:
    row = turns(
        container, ("user", Q), ("assistant", text, call), ("tool", "关", {"tool_call_id": "c1"}), ("assistant", A)
    )
    if "function_call" in call:
        row = turns(
            container, ("user", Q), ("assistant", text, call), ("function", "关", {"name": "read"}), ("assistant", A)
        )
    parsed = parse(row)
    assert parsed.messages[1]["content"] == (f"{text}\n{WANTED}" if text else WANTED)
    assert [message["role"] for message in parsed.messages] == ["user", "assistant", "tool", "assistant"]


def test_calls_as_turns_of_their_own_or_as_parts_take_the_same_form() -> None:
    value = json.dumps({"name": "read", "arguments": AS_TEXT})
    for speaker, said in (("function_call", value), ("tool_call", {"name": "read", "arguments": ARGUMENTS})):
        row = turns("sharegpt", ("human", Q), ("gpt", "我去看看。"), (speaker, said), ("observation", "关"), ("gpt", A))
        assert parse(row).messages[1]["content"] == f"我去看看。\n{WANTED}"
    use = [{"type": "text", "text": "我去看看。"}, {"type": "tool_use", "id": "t1", "name": "read", "input": ARGUMENTS}]
    result = [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "关"}]}]
    parsed = parse(turns("messages", ("user", Q), ("assistant", use), ("user", result), ("assistant", A)))
    assert [(m["role"], m["content"]) for m in parsed.messages[1:3]] == [
        ("assistant", f"我去看看。\n{WANTED}"),
        ("tool", "关"),
    ]
    quoted = WANTED.replace(AS_TEXT, json.dumps(AS_TEXT, ensure_ascii=False))
    assert parse(turns("sharegpt", ("human", Q), ("gpt", quoted))).messages[1]["content"] == WANTED


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>\n{"arguments": {"门": "东"}, "name": "read"}\n</tool_call>',
        "<tool_call>\n{'arguments': {'门': '东'}, 'name': 'read'}\n</tool_call>",
        '<tool_call>{"name": "read", "arguments": {"门": "东"}}</tool_call>',
        '<tool_call>\n{"name": "read", "arguments": "{\\"门\\": \\"东\\"}", "id": "c1"}\n</tool_call>',
    ],
)
def test_a_call_written_as_text_takes_the_one_form_too(written: str) -> None:
    for said, wanted in ((written, WANTED), (f"我去看看。\n{written}{written}", f"我去看看。\n{WANTED}\n{WANTED}")):
        parsed = parse(turns("sharegpt", ("human", Q), ("gpt", said), ("tool", "关"), ("gpt", A)))
        found = parsed.messages[1]["content"]
        assert [json.loads(call) for call in found.split("\n") if call.startswith("{")] == [
            json.loads(call) for call in wanted.split("\n") if call.startswith("{")
        ]
        assert found.replace('{"arguments": {"门": "东"}, "name": "read"}', WANTED.split("\n")[1]) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nkeep\n</tool_call>",
        "<tool_call>{'a': open('x')}</tool_call>",
        "<tool_call>{'name': 'f', 'arguments': 3}</tool_call>",
        '格式是 <tool_call>{"name": "read", "arguments": {}}</tool_call> 这样。',
        '<tool_call>{"name": "read", "arguments": {}, "why": "x"}</tool_call>',
    ],
)
def test_text_that_only_looks_like_a_call_stays(text: str) -> None:
    assert parse(turns("messages", ("user", Q), ("assistant", text))).messages[1]["content"] == text


ANSWERED = [
    ({"v": 0.1}, ['{"v": 0.1}']),
    ([{"v": 0.1}, {"v": 0.2}], ['[{"v": 0.1}, {"v": 0.2}]']),
    (["0.1", "0.2"], ['["0.1", "0.2"]']),
    (0.1, ["0.1"]),
    ([{"type": "text", "text": "0.1"}, {"type": "text", "text": " 微希"}], ["0.1 微希"]),
    ("<tool_response>\n0.1\n</tool_response>", ["0.1"]),
    ("读数 <tool_response>x</tool_response>", ["读数 <tool_response>x</tool_response>"]),
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("content", "read"), ANSWERED)
def test_a_result_is_text_however_it_is_held(container: str, content: Any, read: list[str]) -> None:
    call = {"tool_calls": [{"id": "c1", "function": {"name": "read", "arguments": {}}}]}
    row = turns(container, ("user", Q), ("assistant", "", call), ("tool", content, {"tool_call_id": "c1"}),
                ("assistant", A))  # fmt: skip
    assert [said["content"] for said in parse(row).messages if said["role"] == "tool"] == read


@pytest.mark.parametrize(
    "merged",
    [
        [{"tool_call_id": "c1", "content": "西"}, {"tool_call_id": "c0", "content": "东"}],
        [{"type": "tool_result", "tool_use_id": "c1", "content": "西"},
         {"type": "tool_result", "tool_use_id": "c0", "content": "东"}],
        "<tool_response>\n东\n</tool_response>\n<tool_response>\n西\n</tool_response>",
    ],
)  # fmt: skip
def test_results_merged_in_one_turn_are_several(merged: Any) -> None:
    parsed = parse(two_calls((merged, {})))
    assert [said["content"] for said in parsed.messages if said["role"] == "tool"] == ["东", "西"]


def two_calls(*results: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    calls = [{"id": f"c{n}", "function": {"name": name, "arguments": "{}"}} for n, name in enumerate(("east", "west"))]
    said = [("tool", text, fields) for text, fields in results]
    return turns("messages", ("user", Q), ("assistant", "", {"tool_calls": calls}), *said, ("assistant", A))


def test_results_stand_in_the_order_of_their_calls_and_orphans_are_refused() -> None:
    for row in (
        two_calls(("西", {"tool_call_id": "c1"}), ("东", {"tool_call_id": "c0"})),
        two_calls(("西", {"name": "west"}), ("东", {"name": "east"})),
        two_calls(("东", {}), ("西", {})),
    ):
        assert [message["content"] for message in parse(row).messages[2:4]] == ["东", "西"]
    for row in (
        two_calls(("东", {"tool_call_id": "c0"}), ("又", {"tool_call_id": "c0"})),
        two_calls(("东", {"tool_call_id": "c7"})),
        two_calls(("东", {}), ("西", {}), ("北", {})),
        turns(
            "messages",
            ("user", Q),
            ("assistant", "我去看看。"),
            ("tool", "关", {"tool_call_id": "c1"}),
            ("assistant", A),
        ),
    ):
        assert refusal(row) == "orphan_result"


def test_padding_nulls_leave_schemas_and_arguments_and_meant_ones_stay() -> None:
    def tool(**properties: Any) -> dict[str, Any]:
        return {
            "function": {
                "name": "read",
                "description": None,
                "parameters": {"type": "object", "properties": properties},
            }
        }

    def offered(tools: Any, arguments: Any) -> tuple[Any, str]:
        call = {"id": "c1", "function": {"name": "read", "arguments": arguments}}
        parsed = parse(turns("messages", ("user", Q), ("assistant", None, {"tool_calls": [call]}), tools=tools))
        found = json.loads(parsed.tools or "[]")[0]["function"]["parameters"]["properties"]
        return found, parsed.messages[1]["content"].splitlines()[1]

    door = {"type": "string", "enum": ["东", None], "default": None}
    hour = {"type": ["integer", "null"], "default": None}
    plain = {"type": "string", "enum": ["东", None]}
    for tools in ([tool(门=door, 时=hour, 风=None)], json.dumps([tool(门=door, 时=hour, 风=None)])):
        assert offered(tools, {"门": "东", "风": None, "里": {"a": None}}) == (
            {"门": plain, "时": hour},
            '{"name": "read", "arguments": {"门": "东"}}',
        )
    # Nothing but meant nulls: the author's text to the letter; an argument given as text may be null.
    text = '[{"function": {"name": "read", "parameters": {"properties": {"门": {"default": null}}}}}]'
    assert offered(text, '{"门": null, "风": null}') == (
        {"门": {"default": None}},
        '{"name": "read", "arguments": {"门": null}}',
    )
    assert offered([tool(风=None)], {"风": None}) == ({}, '{"name": "read", "arguments": {}}')
