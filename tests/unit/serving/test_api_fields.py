"""The table of fields: every line does what it says, and what has no line is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.abilities import Abilities
from tasks.serving.admission import Admitted, Caps, Refusal, admit, admit_embedding, fitted
from tasks.serving.api.checks import Number, Whole
from tasks.serving.api.fields import FIELDS, fields_of
from tasks.serving.api.items import as_chat

CAPS = Caps(100, 4, max_prompts=4, schema_bytes=2000, schema_depth=6)
THINKER = Abilities(tool_parser="hermes", reasoning_parser="qwen3", thinking="switched", why_no_tools="")
ASKED = {
    "chat": {"messages": [{"role": "user", "content": "碘片？"}]},
    "completion": {"prompt": "碘片"},
    "responses": {"input": "碘片？"},
}
KINDS = tuple(ASKED)
ALWAYS_SAID = {"model", "messages", "prompt", "input"}
TOOL = {"type": "function", "function": {"name": "dose", "parameters": {"type": "object"}}}
FLAT = {"type": "function", "name": "dose", "parameters": {"type": "object"}}


def passed(kind="chat", caps=CAPS, **fields) -> Admitted:
    return admit(kind, json.dumps({"model": "champion", **ASKED[kind], **fields}).encode(), caps)


def refused(kind="chat", caps=CAPS, **fields) -> Refusal:
    with pytest.raises(Refusal) as caught:
        passed(kind, caps, **fields)
    assert caught.value.status == 400
    return caught.value


def lines(does=None):
    return [
        pytest.param(kind, field, id=f"{kind}-{field.name}")
        for kind in KINDS
        for field in fields_of(kind).values()
        if field.name not in ALWAYS_SAID and (does is None or field.does == does)
    ]


@pytest.mark.parametrize(("kind", "field"), lines())
def test_null_and_neutral_values_say_nothing(kind, field):
    plain = passed(kind)
    for value in (None, *field.neutral):
        assert passed(kind, **{field.name: value}) == plain


@pytest.mark.parametrize(("kind", "field"), lines("refused"))
def test_what_is_not_offered_is_refused_by_name_and_says_why(kind, field):
    refusal = refused(kind, **{field.name: "something"})
    assert (refusal.param, refusal.code) == (field.name, "unsupported_field")
    assert field.why
    assert field.why in refusal.message


@pytest.mark.parametrize(("kind", "field"), lines("dropped"))
def test_what_is_dropped_does_not_reach_the_server_but_is_of_its_kind(kind, field):
    value = {"a": "b"} if field.name == "metadata" else "text"
    assert field.name not in passed(kind, **{field.name: value}).payload
    assert refused(kind, **{field.name: 1}).param == field.name


NUMBERS = [(kind, field) for kind in KINDS for field in fields_of(kind).values()
           if isinstance(field.check, Number | Whole)]  # fmt: skip


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize("written", ["1e999", "-1e999", '"1"', "true", "[]", "1" * 400])
def test_no_number_leaves_its_range(kind, field, written):
    body = json.dumps({"model": "champion", **ASKED[kind], field.name: "here"}).replace('"here"', written)
    with pytest.raises(Refusal) as caught:
        admit(kind, body.encode(), CAPS)
    assert caught.value.param == field.name


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_bounds_themselves_are_inside(kind, field):
    low, high = (getattr(field.check, name) for name in ("low", "high"))
    high = getattr(CAPS, high) if isinstance(high, str) else high
    for value in ([] if getattr(field.check, "above", False) else [low]) + [high]:
        assert passed(kind, **{field.name: value}).payload.get(field.name, 1 if field.name == "n" else 0) == value
    assert refused(kind, **{field.name: high + 1}).param == field.name
    assert refused(kind, **{field.name: low - 1}).param == field.name


@pytest.mark.parametrize("where", ["metadata", "tools", "response_format", "logit_bias"])
def test_infinity_deep_inside_is_refused_by_name(where):
    body = json.dumps({"model": "champion", **ASKED["chat"], where: {"a": ["here"]}}).replace('"here"', "1e999")
    with pytest.raises(Refusal) as caught:
        admit("chat", body.encode(), CAPS)
    assert caught.value.param == where


@pytest.mark.parametrize(("field", "good", "bad"), [
    ("stop", ["a"] * 16, ["a"] * 17), ("stop", "a" * 256, "a" * 257), ("stop", ["a"], [1]),
    ("logit_bias", {str(n): 1 for n in range(300)}, {str(n): 1 for n in range(301)}),
    ("logit_bias", {"0": -100}, {"0": -101}), ("logit_bias", {"7": 1.5}, {"-7": 1}), ("logit_bias", {"7": 1}, {"x": 1}),
    ("logit_bias", {"7": 1}, {"99999999": 1}), ("stop_token_ids", [0] * 16, [0] * 17),
    ("stream_options", {"include_usage": True}, {"include_usage": "yes"}),
    ("chat_template_kwargs", {"enable_thinking": False}, {"enable_thinking": False, "documents": []}),
    ("reasoning_effort", "low", "enormous"),
])  # fmt: skip
def test_lists_and_objects_are_bounded(field, good, bad):
    assert passed(**{field: good})
    assert refused(**{field: bad}).param.startswith(field)


def test_no_field_without_a_line():
    assert refused(guided_regex="(a+)+").code == "unsupported_field"
    assert refused(**{"x" * 5000: 1}).param == "x" * 80


class TestLength:
    def test_over_the_cap_as_the_setting_says(self):
        assert refused(max_tokens=101).code == "over_the_cap"
        clamping = Caps(100, 4, clamps=True)
        for name in ("max_tokens", "max_completion_tokens"):
            assert passed(caps=clamping, **{name: 10**30}).payload["max_tokens"] == 100
            assert refused(caps=clamping, **{name: 0}).param == name
        assert passed("responses", clamping, max_output_tokens=500).payload["max_output_tokens"] == 100

    def test_every_choice_and_prompt_counts(self):
        assert passed(n=3, max_tokens=10).most_tokens == 30
        assert passed("completion", prompt=["a", "b"], n=2, max_tokens=10).most_tokens == 40
        assert refused(n=5).code == "over_the_cap"
        assert refused("completion", prompt=["a"] * 5).code == "over_the_cap"

    def test_no_less_than_the_least(self):
        assert refused(min_tokens=20, max_tokens=10).param == "min_tokens"


class TestMessages:
    def turn(self, **message):
        return passed(messages=[{"role": "user", "content": "?"}, message]).payload["messages"][1]

    def test_an_answer_comes_back_whole(self):
        call = {"id": "c1", "type": "function", "function": {"name": "dose", "arguments": '{"mSv": 20}'}}
        answer = {
            "role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None,
            "function_call": None, "reasoning": "想一想", "tool_calls": [call | {"index": 0}], "parsed": {"a": 1},
            "provider_specific_fields": {"refusal": None},
        }  # fmt: skip
        assert self.turn(**answer) == {"role": "assistant", "content": "", "reasoning": "想一想", "tool_calls": [call]}

    def test_a_result_names_its_call(self):
        given = {"role": "tool", "tool_call_id": "c1", "content": "20"}
        assert self.turn(**given) == given

    def test_the_older_name_of_a_thought(self):
        assert self.turn(role="assistant", content="a", reasoning_content="t")["reasoning"] == "t"

    def test_developer_is_system(self):
        assert self.turn(role="developer", content="x")["role"] == "system"

    @pytest.mark.parametrize(("message", "param"), [
        ({"role": "root", "content": "x"}, "role"), ({"content": "x"}, "role"), ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"), ({"role": "user", "content": []}, "content"),
        ({"role": "assistant"}, "content"), ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "user", "content": "x", "tool_call_id": "c"}, "tool_call_id"),
        ({"role": "user", "content": "x", "reasoning": "t"}, "reasoning"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}, "content"),
        ({"role": "assistant", "content": "x", "refusal": "no"}, "refusal"),
        ({"role": "assistant", "content": "x", "function_call": {"name": "f"}}, "function_call"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
         "tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a": 1e999}'}}]},
         "tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "a b", "arguments": "{}"}}]},
         "tool_calls[0].function.name"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, "tool_calls[0].id"),
    ])  # fmt: skip
    def test_what_is_wrong_is_named(self, message, param):
        assert refused(messages=[message]).param == f"messages[0].{param}"


class TestTools:
    def test_tools_pass_with_what_is_said_about_them(self):
        payload = passed(tools=[TOOL], parallel_tool_calls=False).payload
        assert (payload["tools"], payload["tool_choice"], payload["parallel_tool_calls"]) == ([TOOL], "auto", False)
        named = {"type": "function", "function": {"name": "dose"}}
        assert passed(tools=[TOOL], tool_choice=named).payload["tool_choice"] == named

    def test_a_call_that_must_be_made_is_held_to_its_schema(self):
        (tool,) = passed(tools=[TOOL], tool_choice="required").payload["tools"]
        assert tool["function"]["strict"] is True
        assert "strict" not in passed(tools=[TOOL]).payload["tools"][0]["function"]

    def test_without_tools_nothing_is_said_about_them(self):
        assert passed(tools=[], tool_choice="auto", parallel_tool_calls=False) == passed()

    @pytest.mark.parametrize("fields", [
        {"tool_choice": "required"}, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        {"tools": [TOOL], "tool_choice": "any"},
    ])  # fmt: skip
    def test_a_choice_among_what_is_there(self, fields):
        assert refused(**fields).param == "tool_choice"

    @pytest.mark.parametrize("tool", [
        {"type": "web_search"}, {"type": "function"}, {"type": "function", "function": {"name": "a b"}},
        {"type": "function", "function": {"name": "f", "parameters": []}}, "f",
        {"type": "function", "function": {"name": "f", "url": "http://192.0.2.1"}},
    ])  # fmt: skip
    def test_a_tool_is_a_function(self, tool):
        assert refused(tools=[tool]).param.startswith("tools[0]")

    def test_no_name_twice_and_not_too_many(self):
        assert refused(tools=[TOOL, TOOL]).param == "tools"
        assert refused(tools=[TOOL] * 129).code == "over_the_cap"

    def test_refused_by_name_where_the_model_does_not_know_them(self):
        with pytest.raises(Refusal, match="put what the model should know") as caught:
            fitted(passed(tools=[TOOL]), Abilities())
        assert caught.value.param == "tools"
        assert fitted(passed(tools=[TOOL]), THINKER).payload["tools"] == [TOOL]


class TestThinking:
    @pytest.mark.parametrize(("fields", "thinks"), [
        ({"reasoning_effort": "none"}, False), ({"reasoning_effort": "low"}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
    ])  # fmt: skip
    def test_is_switched_in_the_template(self, fields, thinks):
        payload = fitted(passed(**fields), THINKER).payload
        assert payload["chat_template_kwargs"] == {"enable_thinking": thinks}
        assert "reasoning_effort" not in payload

    @pytest.mark.parametrize(("thinking", "effort"), [("never", "high"), ("always", "none")])
    def test_what_a_template_cannot_do_is_refused(self, thinking, effort):
        with pytest.raises(Refusal) as caught:
            fitted(passed(reasoning_effort=effort), Abilities(thinking=thinking))
        assert caught.value.param == "reasoning_effort"

    @pytest.mark.parametrize(("thinking", "effort"), [("never", "none"), ("always", "high")])
    def test_what_it_does_anyway_says_nothing(self, thinking, effort):
        assert fitted(passed(reasoning_effort=effort), Abilities(thinking=thinking)).payload == passed().payload

    def test_an_answer_held_to_a_form_begins_with_it(self):
        form = held_to({"type": "object"})
        payload = fitted(passed(response_format=form), THINKER).payload
        assert payload["include_reasoning"] is False
        assert payload["chat_template_kwargs"] == {"enable_thinking": False}
        with pytest.raises(Refusal) as caught:
            fitted(passed(response_format=form, reasoning_effort="high"), THINKER)
        assert caught.value.param == "response_format"
        always = Abilities(reasoning_parser="tunegate", thinking="always")
        assert "include_reasoning" not in fitted(passed(response_format=form), always).payload

    def test_two_fields_may_not_say_opposite_things(self):
        assert refused(reasoning_effort="none", chat_template_kwargs={"enable_thinking": True})


def held_to(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def nested(depth):
    return {"type": "object"} if depth < 2 else {"type": "object", "properties": {"a": nested(depth - 1)}}


class TestSchemas:
    def test_the_form_of_an_answer(self):
        admitted = passed(response_format=held_to(nested(3)))
        assert admitted.payload["response_format"]["json_schema"]["schema"] == nested(3)
        assert admitted.begins_within_s == CAPS.schema_timeout_s
        assert passed(response_format={"type": "json_object"}).payload["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize(("good", "bad"), [
        (nested(6), nested(7)),
        ({"description": "x" * 1900}, {"description": "x" * 2000}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, {"$ref": "http://192.0.2.1/schema.json"}),
        ({"properties": {"$ref": {"type": "string"}}}, {"items": {"$ref": "file:///etc/passwd"}}),
        ({"maxLength": 1024}, {"anyOf": [{"maxLength": 1025}]}),
        ({"pattern": "a" * 256}, {"properties": {"b": {"pattern": "a" * 257}}}),
        ({"patternProperties": {"a": {}}}, {"patternProperties": {"a" * 257: {}}}),
        ({"enum": [1] * 256}, {"enum": [1] * 257}),
        ({"const": [[1]]}, {"const": [[[[[[[1]]]]]]]}),
    ])  # fmt: skip
    def test_what_makes_a_grammar_large_is_bounded(self, good, bad):
        assert passed(response_format=held_to(good))
        assert refused(response_format=held_to(bad)).param == "response_format.json_schema.schema"
        tool = {"type": "function", "function": {"name": "f", "parameters": bad}}
        assert refused(tools=[tool]).param == "tools[0].function.parameters"

    @pytest.mark.parametrize("form", [{"type": "structural_tag"}, {"type": "json_schema"}, "text", {"type": "regex"}])
    def test_no_other_form(self, form):
        assert refused(response_format=form).param.startswith("response_format")


class TestEmbeddings:
    def test_texts_within_bounds_and_what_says_nothing(self):
        caps = replace(CAPS, max_embedding_inputs=2)
        asked = {"model": "bge", "input": ["碘片", "窗"], "encoding_format": "base64", "user": "w", "padding": None}
        admitted = admit_embedding(json.dumps(asked).encode(), caps)
        assert (admitted.model, admitted.prompt, admitted.user) == ("bge", ["碘片", "窗"], "w")
        assert admitted.payload == {"input": ["碘片", "窗"], "encoding_format": "base64"}
        for fields, param in (
            ({"input": ["x"] * 3}, "input"), ({"input": []}, "input"), ({"input": [""]}, "input"),
            ({"input": ""}, "input"), ({"input": [[1, 2]]}, "input[0]"), ({"dimensions": 0}, "dimensions"),
            ({"encoding_format": "bits"}, "encoding_format"), ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
            ({"model": None}, "model"), ({"unheard_of": 1}, "unheard_of"),
        ):  # fmt: skip
            with pytest.raises(Refusal) as caught:
                admit_embedding(json.dumps({"model": "bge", "input": "x"} | fields).encode(), caps)
            assert (caught.value.status, caught.value.param) == (400, param)


class TestResponses:
    def test_items_of_an_answer_come_back(self):
        parts = [{"type": "output_text", "text": "答", "annotations": [], "logprobs": None}]
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "问"}]},
            {"type": "reasoning", "id": "r1", "summary": [], "content": [{"type": "reasoning_text", "text": "想"}]},
            {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": parts},
            {"role": "developer", "content": "短"},
        ]
        sent = passed("responses", input=items).payload
        thought = [{"type": "reasoning_text", "text": "想"}]
        assert [(item.get("role"), item["content"]) for item in sent["input"]] == [
            ("user", "问"), (None, thought), ("assistant", "答"), ("system", "短"),
        ]  # fmt: skip
        assert sent["store"] is False

    def test_calls_and_their_results_come_back_and_vllm_counts_the_same_chat(self):
        thought = {
            "type": "reasoning",
            "id": "r1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "想"}],
        }
        call = {
            "type": "function_call",
            "call_id": "c",
            "name": "dose",
            "arguments": "",
            "id": "fc",
            "status": "completed",
        }
        output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "20"}]}
        items = [{"role": "user", "content": "问"}, thought, call, call | {"call_id": "d"}, output]
        sent = passed("responses", input=items, instructions="短", tools=[FLAT])
        assert sent.payload["input"][2:] == [
            {"type": "function_call", "call_id": "c", "name": "dose", "arguments": "{}"},
            {"type": "function_call", "call_id": "d", "name": "dose", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "20"},
        ]
        chat = as_chat(sent.payload)
        assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant", "tool"]
        assert [one["id"] for one in chat["messages"][2]["tool_calls"]] == ["c", "d"]
        assert chat["messages"][2]["reasoning"] == "想"
        assert chat["tools"] == [TOOL]

    @pytest.mark.parametrize("item", [
        {"type": "function_call_output", "call_id": "c", "output": "20"},
        {"type": "function_call", "call_id": "c", "name": "no name", "arguments": "{}"},
        {"type": "function_call", "call_id": "c", "name": "dose", "arguments": "[]"},
        {"type": "function_call", "name": "dose", "arguments": "{}"},
        {"type": "function_call", "call_id": "c", "name": "dose", "arguments": "{}", "signature": "x"},
        {"type": "web_search_call", "id": "w"},
    ])  # fmt: skip
    def test_items_that_lack_something_or_belong_to_no_call(self, item):
        assert refused("responses", input=[{"role": "user", "content": "问"}, item]).param.startswith("input[1]")

    def test_a_thought_that_nothing_follows_says_nothing(self):
        thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "想"}]}
        items = [{"role": "user", "content": "问"}, thought, {"role": "user", "content": "问"}]
        assert [item["type"] for item in passed("responses", input=items).payload["input"]] == ["message"] * 2

    def test_tools_are_functions_in_the_flat_shape(self):
        named = {"type": "function", "name": "dose"}
        payload = passed("responses", tools=[FLAT], tool_choice=named, parallel_tool_calls=False).payload
        assert payload["tools"] == [FLAT | {"strict": True}]
        assert (payload["tool_choice"], payload["parallel_tool_calls"]) == (named, False)
        assert passed("responses", tools=[FLAT]).payload["tool_choice"] == "auto"
        assert refused("responses", tools=[FLAT], tool_choice=named | {"name": "wind"}).param == "tool_choice"
        assert refused("responses", tools=[FLAT], tool_choice={"type": "web_search"}).param == "tool_choice"
        for other in ({"type": "web_search"}, {"type": "mcp", "server_url": "x"}, TOOL | {"type": "custom"}, TOOL, 7):
            assert refused("responses", tools=[other]).param.startswith("tools[0]")

    def test_a_forced_call_is_given_without_a_thought_and_tools_need_a_parser(self):
        forced = passed("responses", tools=[FLAT], tool_choice="required")
        assert fitted(forced, THINKER).payload["chat_template_kwargs"] == {"enable_thinking": False}
        with pytest.raises(Refusal, match="parser"):
            fitted(forced, Abilities())

    @pytest.mark.parametrize("value", [
        [], "", [{"type": "item_reference", "id": "m1"}], [{"role": "user", "content": [{"type": "input_image"}]}],
        [{"role": "tool", "content": "x"}], [{"type": "reasoning"}], 7,
    ])  # fmt: skip
    def test_text_alone(self, value):
        assert refused("responses", input=value).param.startswith("input")

    def test_the_form_of_an_answer(self):
        form = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
        assert passed("responses", text={"format": form}).payload["text"] == {"format": form}
        assert "text" not in {name for name, value in passed("responses", text={"format": {"type": "text"}}
                                                             ).payload.items() if value}  # fmt: skip

    def test_effort(self):
        payload = fitted(passed("responses", reasoning={"effort": "none"}), THINKER).payload
        assert payload["chat_template_kwargs"] == {"enable_thinking": False}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({field.name for field in FIELDS})) | st.text(max_size=12)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), more=st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_is_sent_is_admitted_or_refused_and_what_passes_is_plain_json(kind, more):
    body = json.dumps({"model": "champion", **ASKED[kind], **more}).replace("Infinity", "1e999")
    try:
        admitted = fitted(admit(kind, body.encode(), CAPS), THINKER)
    except Refusal:
        return  # any other error would be a 500
    json.dumps(admitted.payload, allow_nan=False)
    assert admitted.most_tokens <= CAPS.max_completion_tokens * CAPS.max_choices * CAPS.max_prompts
