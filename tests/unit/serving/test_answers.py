"""What goes into the record of an answer: text, thought and calls, whole and streamed, of every route."""

import json

from tasks.serving.answers import ends, is_usage, said, spoken, usage_of

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
