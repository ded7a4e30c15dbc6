"""What goes into the record of an answer: text, thought and calls, whole and streamed, of every route."""

import json

import pytest

from tasks.serving.answers import broken_off, ends, is_usage, said, spoken, usage_of

CALL = {"id": "c", "type": "function", "function": {"name": "dose", "arguments": '{"mSv": 20}'}}


def body(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def event(value, name=None) -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + body(value) + b"\n\n"


def delta(**fields) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields}]})


def test_text_alone_stays_text():
    assert said([body({"choices": [{"index": 0, "message": {"content": "关窗", "reasoning": None}}]})]) == "关窗"
    assert said([body({"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]})]) == ["a", "b"]
    assert (
        said([delta(role="assistant", content=""), delta(content="关"), delta(content="窗"), b"data: [DONE]\n\n"])
        == "关窗"
    )


def test_a_thought_and_calls_are_kept():
    message = {"content": None, "reasoning": "想", "tool_calls": [CALL]}
    kept = {"reasoning": "想", "tool_calls": [{"name": "dose", "arguments": '{"mSv": 20}'}]}
    assert said([body({"choices": [{"index": 0, "message": message}]})]) == kept


def test_streamed_calls_are_put_together():
    pieces = [
        delta(reasoning="先"), delta(reasoning="想"), delta(content="好"),
        delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "dose", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"mSv"'}}]),
        delta(tool_calls=[{"index": 1, "function": {"name": "where", "arguments": "{}"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 20}"}}]),
    ]  # fmt: skip
    calls = [{"name": "dose", "arguments": '{"mSv": 20}'}, {"name": "where", "arguments": "{}"}]
    assert said(pieces) == {"reasoning": "先想", "content": "好", "tool_calls": calls}


def test_items_of_the_responses_api():
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "想"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "关窗"}]},
    ]
    usage = {"input_tokens": 3, "output_tokens": 5}
    whole = body({"object": "response", "output": output, "usage": usage})
    last = event({"type": "response.completed", "response": {"output": output, "usage": usage}}, "response.completed")
    first = event({"type": "response.output_text.delta", "delta": "关"}, "response.output_text.delta")
    for pieces in ([whole], [first, last]):
        assert said(pieces) == {"reasoning": "想", "content": "关窗"}
        assert usage_of(pieces[-1]) == (3, 5)
    assert [ends(piece) for piece in (first, last, b"data: [DONE]\n\n")] == [False, True, True]


def test_calls_of_the_responses_api_whole_and_of_a_stream_that_broke_off():
    call = {"type": "function_call", "call_id": "c", "name": "dose", "arguments": '{"mSv": 20}'}
    kept = {"tool_calls": [{"name": "dose", "arguments": '{"mSv": 20}'}]}
    assert said([body({"output": [call]})]) == kept
    events = [
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "想"},
        {"type": "response.output_item.added", "output_index": 1, "item": call | {"arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"mSv"'},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": ": 20}"},
    ]
    pieces = [event(one, one["type"]) for one in events]
    assert said(pieces) == {"reasoning": "想"} | kept
    last = {"type": "response.completed", "response": {"output": [call]}}
    assert said([*pieces, event(last, last["type"])]) == kept
    begun = {"type": "response.output_text.delta", "delta": "关"}
    assert said([event(begun, begun["type"])]) == "关"


def test_errors_and_what_is_no_json_are_kept_as_they_are():
    assert said([delta(content="a"), event({"error": {"message": "lost"}})]) == {"message": "lost"}
    assert said([b"{broken"]) == "{broken"
    assert said([b""]) == []


def test_usage():
    assert usage_of(body({"usage": {"prompt_tokens": 1, "completion_tokens": 2}})) == (1, 2)
    assert is_usage(event({"choices": [], "usage": {}}).replace(b": []", b":[]"))
    assert usage_of(b"data: [DONE]\n\n") == (None, None)


def test_spoken_is_what_a_person_reads():
    thought = {"message": {"content": "不能提供。", "reasoning": "目前尚不清楚", "tool_calls": [CALL]}}
    assert spoken(said([body({"choices": [thought]})])) == "不能提供。"
    two = [{"index": 0, "message": {"content": "一"}}, {"index": 1, "message": {"content": "二"}}]
    assert spoken(said([body({"choices": two})])) == "一\n二"
    assert spoken(said([])) == ""


@pytest.mark.parametrize(("piece", "expected"), [
    (b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"abort"}]}', True),
    (b'data: {"choices": [{"delta": {}, "finish_reason": "abort"}]}\n\n', True),
    (b'data: {"choices":[{"text":"","finish_reason":"error"}]}\n\n', True),
    (b'{"object":"response","status":"cancelled","output":[]}', True),
    (b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}', False),
    (b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n', False),
    (json.dumps({"content": 'it says "finish_reason": "abort"', "finish_reason": "length"}).encode(), False),
])  # fmt: skip
def test_an_answer_that_the_server_broke_off_is_told_from_one_that_says_so(piece, expected):
    assert broken_off(piece) is expected
