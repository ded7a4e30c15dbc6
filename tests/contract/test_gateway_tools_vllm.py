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
from tests.unit.families import write_family

pytestmark = pytest.mark.slow

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
        control.deploy(found, Deployment("1", "tg-tiny", model, abilities=abilities_of(model)))
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
