"""Calls, thoughts, forms and the Responses API through the gateway with the real vLLM and a tiny random Qwen3.

A random model says nothing that makes sense: what is asked here is what grammar, parsers and routes make of it.
"""

import json
from pathlib import Path

import openai
import pytest

from tasks.engine.abilities import abilities_of
from tasks.engine.deployment import Deployment
from tasks.serving import control
from tasks.serving.keys import KeyStore
from tasks.serving.paths import audit_folder, keys_path
from tests.contract.conftest import real_vllm
from tests.proofs import proven
from tests.unit.families import write_family

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
ASKED = {"model": "champion", "messages": [{"role": "user", "content": "碘片？"}], "temperature": 0, "max_tokens": 200,
         "frequency_penalty": 2}  # fmt: skip
PARAMETERS = {"type": "object", "properties": {"mSv": {"type": "integer", "maximum": 9}}, "required": ["mSv"],
              "additionalProperties": False}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "dose", "parameters": PARAMETERS}}
NAMED = {"type": "function", "function": {"name": "dose"}}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with real_vllm(tmp_path_factory.mktemp("tools")) as found:
        model = write_family("qwen3", found.root / "model", model=True)
        control.ensure_host(found)
        control.deploy(found, proven(found, Deployment("1", "tg-tiny", model, abilities=abilities_of(model))))
        yield found


@pytest.fixture(scope="module")
def client(live):
    key = KeyStore(keys_path(live)).create("openai", "caller")
    with openai.OpenAI(base_url=f"{live.gateway_url}/v1", api_key=key, max_retries=0) as found:
        yield found


def test_a_call_asked_for_by_name_and_its_result_in_the_next_turn(client, live):
    answer = client.chat.completions.create(**ASKED, tools=[TOOL], tool_choice=NAMED).choices[0].message
    (call,) = answer.tool_calls
    assert call.function.name == "dose"
    assert set(json.loads(call.function.arguments)) == {"mSv"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "20"}
    turns = [*ASKED["messages"], answer, result]
    assert client.chat.completions.create(**ASKED | {"messages": turns}, tools=[TOOL]).choices[0].finish_reason
    texts = "".join(path.read_text(encoding="utf-8") for path in audit_folder(live).glob("*.jsonl"))
    assert '"tool_calls": [{"arguments"' in texts


@pytest.mark.parametrize("choice", ["required", "auto", "none"])
@pytest.mark.parametrize("stream", [True, False])
def test_every_choice(client, choice, stream):
    asked = ASKED | {"tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": choice != "required"}
    answer = client.chat.completions.create(**asked, stream=stream)
    if stream:
        calls = [call for chunk in answer for call in (chunk.choices[0].delta.tool_calls or ())]
        names = [call.function.name for call in calls if call.function.name]
    else:
        names = [call.function.name for call in answer.choices[0].message.tool_calls or ()]
    assert set(names) == {"dose"} if choice == "required" else not names or choice == "auto"


def test_an_answer_in_a_form(client):
    form = {"type": "json_schema", "json_schema": {"name": "dose", "schema": PARAMETERS, "strict": True}}
    message = client.chat.completions.create(**ASKED, response_format=form).choices[0].message
    assert set(json.loads(message.content)) == {"mSv"}


@pytest.mark.parametrize("more", [
    {}, {"reasoning_effort": "none"}, {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    {"extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 2}, "n": 2, "temperature": 1,
     "seed": 3},
])  # fmt: skip
def test_an_answer_is_content_with_and_without_thinking(client, more):
    answer = client.chat.completions.create(**ASKED | more)
    for choice in answer.choices:
        assert choice.message.content or choice.finish_reason == "stop"
        assert not getattr(choice.message, "reasoning", None)
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**ASKED | more | {"n": 1}, stream=True)
    )
    assert text == answer.choices[0].message.content or more.get("n") == 2


def test_responses_whole_and_streamed(client):
    asked = {"model": "champion", "input": [{"role": "user", "content": "碘片？"}], "max_output_tokens": 16,
             "temperature": 0, "instructions": "短"}  # fmt: skip
    whole = client.responses.create(**asked)
    assert whole.usage.output_tokens <= 16
    events = list(client.responses.create(**asked, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text
    again = [*asked["input"], *[item.model_dump() for item in whole.output], {"role": "user", "content": "然后？"}]
    assert client.responses.create(**asked | {"input": again}).output is not None


FLAT = {"type": "function", "name": "dose", "parameters": PARAMETERS, "strict": None}
TURN = {"model": "champion", "input": [{"role": "user", "content": "碘片？"}], "max_output_tokens": 200,
        "temperature": 0, "extra_body": {"frequency_penalty": 2}}  # fmt: skip


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "dose"}])
def test_responses_a_call_that_must_be_made_its_stream_and_its_result_in_the_next_turn(client, live, choice):
    asked = TURN | {"tools": [FLAT], "tool_choice": choice, "parallel_tool_calls": False}
    (call,) = client.responses.create(**asked).output
    assert (call.type, call.name, set(json.loads(call.arguments))) == ("function_call", "dose", {"mSv"})
    events = list(client.responses.create(**asked, stream=True))
    assert "response.function_call_arguments.delta" in [event.type for event in events]
    (streamed,) = events[-1].response.output
    assert json.loads(streamed.arguments) == json.loads(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "20"}
    thought = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "查。"}]}
    turns = [*TURN["input"], thought, call.model_dump(), result]
    assert client.responses.create(**TURN | {"input": turns}, tools=[FLAT]).usage.output_tokens
    texts = "".join(path.read_text(encoding="utf-8") for path in audit_folder(live).glob("*.jsonl"))
    assert '"tool_calls": [{"arguments": "{' in texts


def test_responses_free_choices_and_what_is_no_function(client):
    for choice in ("auto", "none"):
        answer = client.responses.create(**TURN, tools=[FLAT], tool_choice=choice)
        assert {item.type for item in answer.output} <= {"message", "function_call", "reasoning"}
        assert choice == "auto" or all(item.type != "function_call" for item in answer.output)
    with pytest.raises(openai.BadRequestError, match="no other tool is run here"):
        client.responses.create(**TURN, tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="nothing is stored"):
        client.responses.create(**TURN, previous_response_id="resp_1")


def test_a_prompt_with_calls_is_counted_as_the_engine_counts_it(client):
    call = {"type": "function_call", "call_id": "c", "name": "dose", "arguments": '{"mSv": 3}'}
    result = {"type": "function_call_output", "call_id": "c", "output": "1" * 100}
    turns = [*TURN["input"], call, result]
    count = client.responses.create(**TURN | {"input": turns, "max_output_tokens": 1}, tools=[FLAT]).usage.input_tokens
    room = 1024 - count
    assert client.responses.create(**TURN | {"input": turns, "max_output_tokens": room}, tools=[FLAT]).output
    with pytest.raises(openai.BadRequestError, match=f"the prompt has {count} tokens"):
        client.responses.create(**TURN | {"input": turns, "max_output_tokens": room + 1}, tools=[FLAT])
