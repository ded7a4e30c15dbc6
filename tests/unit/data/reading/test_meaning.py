"""A row teaches what its author meant: marks, verdicts, calls, thoughts and media, in every container."""

import json
from typing import Any

import pytest

from tasks.data.problems import BadRowError
from tasks.data.reading.formats import parse

Q, A, Q2, A2 = "取水口要关吗？", "不用关。", "现在检测超标了。", "立即关闭取水口并上报。"


def turns(container: str, *said: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    """Return a row of turns: (role, content, further fields of the turn)."""
    names = ("from", "value") if container == "sharegpt" else ("role", "content")
    key = "conversations" if container != "messages" else "messages"
    listed = [{names[0]: one[0], names[1]: one[1], **(one[2] if len(one) > 2 else {})} for one in said]
    return {key: listed, **fields}


CONTAINERS = ("messages", "conversations", "sharegpt")


def refusal(row: Any, **options: Any) -> str:
    with pytest.raises(BadRowError) as refused:
        parse(row, **options)
    return refused.value.reason


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("no", "yes"),
    [
        ({"weight": 0}, {"weight": 1}),
        ({"weight": 0.0}, {"weight": 0.5}),
        ({"loss": False}, {"loss": True}),
        ({"train": "false"}, {"train": "true"}),
        ({"trainable": False}, {"trainable": None}),
        ({"loss_mask": 0}, {}),
        ({"masked": True}, {"masked": False}),
        ({"label": False}, {"label": True}),
    ],
)
def test_marked_turns_are_kept_as_history_and_not_taught(container: str, no: Any, yes: Any) -> None:
    parsed = parse(turns(container, ("user", Q), ("assistant", A, no), ("user", Q2), ("assistant", A2, yes)))
    assert (parsed.untaught, len(parsed.messages)) == ((1,), 4)
    assert parsed.notes == ("no loss on turn 2: marked not to be learnt",)


def test_marks_beside_the_turns_are_counted_with_or_without_the_user() -> None:
    row = turns("messages", ("user", Q), ("assistant", A), ("user", Q2), ("assistant", A2))
    for name, marks in (("loss_mask", [0, 0, 0, 1]), ("loss_mask", [0, 1]), ("weight", "[0, 0, 0, 1]")):
        assert parse({**row, "system": "值班助手", name: marks}).untaught == (2,)
    for marks in ([0, 0, 1], [0, 0, 0, "x"]):
        assert refusal({**row, "loss_mask": marks}) == "unclear_mark"


def test_what_follows_the_last_answer_that_is_learnt_is_left_out_and_nothing_to_learn_is_refused() -> None:
    parsed = parse(turns("messages", ("user", Q), ("assistant", A), ("user", Q2), ("assistant", A2, {"weight": 0})))
    assert [message["content"] for message in parsed.messages] == [Q, A]
    assert "left out" in parsed.notes[0]
    assert refusal(turns("messages", ("user", Q), ("assistant", A, {"weight": 0}))) == "nothing_to_learn"
    assert refusal({"instruction": Q, "output": A, "train": False}) == "nothing_to_learn"
    assert refusal(turns("messages", ("user", Q), ("assistant", A, {"weight": "maybe"}))) == "unclear_mark"
    # A column of that name may mean something else.
    assert parse({"instruction": Q, "output": A, "train": "split-3", "weight": "70 kg"}).untaught == ()


@pytest.mark.parametrize("mark", [False, "false", "False", 0, "0"])
@pytest.mark.parametrize("name", ["label", "kto_tag"])
def test_answers_called_bad_are_never_learnt(name: str, mark: Any) -> None:
    for row in ({"instruction": Q, "output": A}, turns("sharegpt", ("human", Q), ("gpt", A))):
        assert refusal({**row, name: mark}) == "marked_bad"
        assert parse({**row, name: True}).messages[-1]["content"] == A
        assert parse({**row, name: mark}, columns={name: None}).messages[-1]["content"] == A


def test_a_last_user_turn_is_left_out_with_a_note() -> None:
    parsed = parse(turns("messages", ("user", Q), ("assistant", A), ("user", "谢谢！")))
    assert [message["role"] for message in parsed.messages] == ["user", "assistant"]
    assert parsed.notes == ("the user's last turn has no answer and is left out",)


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


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning": "先看检测值。"},
        {"reasoning_content": "先看检测值。", "reasoning": None},
        {"thinking": "先看检测值。"},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "先看检测值。"},
                {"type": "reasoning.encrypted", "data": "x"},
            ]
        },
        {"reasoning": "先看检测值。", "reasoning_details": [{"type": "reasoning.summary", "summary": "短"}]},
        {"thinking": [{"type": "thinking", "thinking": "先看检测值。"}]},
    ],
)
def test_thoughts_are_read_from_every_field(container: str, thought: Any) -> None:
    for extra in ({}, {"content": None} if container == "sharegpt" else {"value": None}):
        parsed = parse(turns(container, ("user", Q), ("assistant", A, {**thought, **extra})))
        assert parsed.messages[1]["content"] == f"<think>\n先看检测值。\n</think>\n\n{A}"


def test_thoughts_are_read_from_parts_and_from_both_places_where_they_agree() -> None:
    said = f"<think>\n先看检测值。\n</think>\n\n{A}"
    for kind in ("reasoning", "thinking"):
        parts = [{"type": kind, kind: "先看检测值。"}, {"type": "output_text", "text": A}]
        assert parse(turns("messages", ("user", Q), ("assistant", parts))).messages[1]["content"] == said
    twice = turns("messages", ("user", Q), ("assistant", said, {"reasoning_content": "先看检测值。"}))
    assert parse(twice).messages[1]["content"] == said
    assert refusal(turns("messages", ("user", Q), ("assistant", said, {"reasoning": "别的。"}))) == "nested_think"
    assert refusal(turns("sharegpt", ("human", Q, {"reasoning": "用户想"}), ("gpt", A))) == "misplaced_think"


THINKING = "先看检测值。"
SAID = f"<think>\n{THINKING}\n</think>\n\n{A}"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_a_thought_beside_the_turns_is_the_last_answer_s(name: str) -> None:
    earlier = (("user", Q2), ("assistant", A2), ("user", Q), ("assistant", A))
    for row in (
        turns("messages", *earlier), turns("sharegpt", *earlier),
        {"prompt": [{"role": "user", "content": Q}], "completion": [{"role": "assistant", "content": A}]},
        {"conversation": [{"input": Q, "output": A}]},
    ):  # fmt: skip
        parsed = parse({**row, name: THINKING})
        assert [said["content"] for said in parsed.messages if said["role"] == "assistant"][-1] == SAID
        assert all("<think>" not in said["content"] for said in parsed.messages[:-1])
        assert parsed.notes == (f"`{name}` of the row is the reasoning of its last answer",)
    # A list of as many is one each; an answer that has its own keeps it.
    parsed = parse({"prompts": [Q, Q2], "responses": [A, A2], name: [THINKING, "再想。"]})
    assert [said["content"] for said in parsed.messages[1::2]] == [SAID, f"<think>\n再想。\n</think>\n\n{A2}"]
    own = turns("messages", ("user", Q), ("assistant", A, {"reasoning": THINKING}))
    assert parse({**own, name: "别的。"}).messages[1]["content"] == SAID


@pytest.mark.parametrize("setting", ["on", "off", "high", True, False, "关"])
def test_a_setting_of_how_much_to_think_is_no_thought(setting: Any) -> None:
    for row in (
        {"instruction": Q, "output": A, "reasoning": setting},
        {"input": Q, "output": A, "reasoning": setting},
        turns("messages", ("user", Q), ("assistant", A), thinking=setting),
        turns("messages", ("user", Q), ("assistant", A, {"thinking": setting})),
    ):
        assert parse(row).messages[1]["content"] == A


@pytest.mark.parametrize("nothing", ["null", "{}", {}, "", "[]", "None", [None], None, {"name": None}])
def test_no_calls_and_no_tools_however_a_table_says_so(nothing: Any) -> None:
    said = (("user", Q, {"tool_calls": nothing}), ("assistant", A, {"tool_calls": nothing, "function_call": nothing}))
    parsed = parse(turns("messages", *said, tools=nothing))
    assert (parsed.messages[1]["content"], parsed.tools) == (A, None)


def test_a_system_prompt_in_parts_is_read() -> None:
    row = turns("messages", ("user", Q), ("assistant", A), system=[{"type": "text", "text": "值班助手"}])
    assert parse(row).messages[0] == {"role": "system", "content": "值班助手"}


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": Q, "output": A, "images": ["a.jpg"]},
        {"instruction": Q, "output": A, "image": {"bytes": None, "path": "a.jpg"}},
        turns("sharegpt", ("human", Q), ("gpt", A), videos=["a.mp4"]),
        turns("messages", ("user", Q, {"images": ["a.jpg"]}), ("assistant", A)),
        turns(
            "messages",
            ("user", [{"type": "image_url", "image_url": {"url": "a"}}, {"type": "text", "text": Q}]),
            ("assistant", A),
        ),
        turns("messages", ("user", [{"type": "input_audio", "input_audio": {}}]), ("assistant", A)),
        *(
            turns("sharegpt", ("human", text), ("gpt", A))
            for text in (
                f"<image>\n{Q}",
                f"<|vision_start|>掩蔽/0003.jpg<|vision_end|>{Q}",
                f"Picture 1: <img>signs/0001.jpg</img>\n{Q}",
                f"{Q}<video>",
                f"<audio>a.wav</audio>{Q}",
                f"<|image_1|>{Q}",
                f"<IMAGE_PLACEHOLDER>{Q}",
                f"<|audio_bos|><|AUDIO|><|audio_eos|>{Q}",
            )
        ),
        {"prompt": Q, "chosen": A, "rejected": "<image>不知道"},
    ],
)
def test_media_are_refused_by_name(row: Any) -> None:
    assert refusal(row) == "media"


@pytest.mark.parametrize(
    "text",
    [
        "HTML 里 `<image>` 和 `<video>` 有什么区别？",
        "怎样用 <video> 标签？",
        "```html\n<video>\n<source src='a.mp4'>\n</video>\n```",
        "<video>\n<source src='a.mp4'>\n</video> 这段怎么改？",
        "<img src='a.png' alt='x'>",
        "x <imagine> y",
        "a < image > b",
    ],
)
def test_words_about_media_are_no_media(text: str) -> None:
    row = {"instruction": text, "output": A, "images": [], "image": None, "videos": "[]", "audio": {"path": None}}
    assert parse(row).messages[0]["content"] == text


THOUGHT = f"<think>\n先看检测值。\n</think>\n\n{A2}"
#: Shape -> row, and what is read.
SHAPES: dict[str, tuple[Any, list[str]]] = {
    "swift": ({"query": Q2, "response": A2, "history": [[Q, A]], "system": "助手"}, ["助手", Q, A, Q2, A2]),
    "xtuner": (
        {"conversation": [{"system": "助手", "input": Q, "output": A}, {"input": Q2, "output": A2}]},
        ["助手", Q, A, Q2, A2],
    ),
    "question and answer": ({"question": Q2, "answer": A2}, [Q2, A2]),
    "prompt and completion": ({"prompt": Q2, "completion": A2}, [Q2, A2]),
    "prompt and completion of turns": (
        {"prompt": [{"role": "user", "content": Q2}], "completion": [{"role": "assistant", "content": A2}]},
        [Q2, A2],
    ),
    "Question, Complex_CoT, Response": ({"Question": Q2, "Complex_CoT": "先看检测值。", "Response": A2}, [Q2, THOUGHT]),
    "Dolly": ({"instruction": Q2, "context": "读数 3", "response": A2, "category": "qa"}, [f"{Q2}\n读数 3", A2]),
    "a bare list": ([{"role": "user", "content": Q2}, {"role": "assistant", "content": A2}], [Q2, A2]),
    "lists side by side": ({"questions": [Q, Q2], "answers": [A, A2]}, [Q, A, Q2, A2]),
    "turns side by side": ({"conversations": {"from": ["human", "gpt"], "value": [Q2, A2]}}, [Q2, A2]),
    "parts": (
        turns("messages", ("user", [{"type": "text", "text": Q2}]), ("assistant", [{"type": "text", "text": A2}])),
        [Q2, A2],
    ),
    "Chinese names": ({"问题": Q2, "答案": A2}, [Q2, A2]),
    "a dialogue": ({"dialogue": [{"speaker": "user", "text": Q2}, {"speaker": "assistant", "text": A2}]}, [Q2, A2]),
    "Firefly": ({"kind": "QA", "input": Q2, "target": A2}, [Q2, A2]),
    "upper case": ({"Instruction": Q2, "Output": A2, "Input": ""}, [Q2, A2]),
    "ms-swift's preference": (
        turns("messages", ("user", Q2), ("assistant", A2), rejected_response="不用管。"),
        [Q2, A2],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_people_have(shape: str) -> None:
    row, said = SHAPES[shape]
    parsed = parse(row)
    assert [message["content"] for message in parsed.messages] == said
    assert parsed.rejected == ("不用管。" if "preference" in shape else None)


def test_answers_in_a_prompt_are_given_and_not_taught() -> None:
    said = turns("messages", ("user", Q), ("assistant", A), ("user", Q2))["messages"]
    assert parse({"prompt": said, "completion": [{"role": "assistant", "content": A2}]}).untaught == (1,)


def test_mapped_columns_and_roles() -> None:
    columns = {"instruction": "问话", "output": "答话", "thinking": "想法"}
    parsed = parse({"问话": Q2, "答话": A2, "想法": "先看检测值。", "messages": []}, columns=columns)
    assert [message["content"] for message in parsed.messages] == [Q2, THOUGHT]
    row = {"记录": [{"谁": "来电人", "话": Q2}, {"谁": "值班员", "话": A2, "role": "x"}]}
    mapped = {"messages": "记录", "role": "谁", "content": "话"}
    roles = {"来电人": "user", "值班员": "assistant"}
    assert [message["content"] for message in parse(row, columns=mapped, roles=roles).messages] == [Q2, A2]
