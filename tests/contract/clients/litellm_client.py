"""litellm as a client."""

import asyncio
from importlib.metadata import version

import litellm
from looks import KEY, QUESTION, URL, tell
from pydantic import BaseModel

ASKED = {"model": "openai/champion", "api_base": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
TURNS = [{"role": "user", "content": QUESTION}]
TOOLS = [{"type": "function", "function": {
    "name": name, "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}} for name in ("dose", "wind")]  # fmt: skip


class Dose(BaseModel):
    mSv: int
    where: str


def chat():
    assert litellm.completion(**ASKED, messages=TURNS).choices[0].message.content


def two_turns():
    first = litellm.completion(**ASKED, messages=TURNS).choices[0].message
    turns = [*TURNS, first.model_dump(), {"role": "user", "content": "然后？"}]
    assert litellm.completion(**ASKED, messages=turns).choices[0].message.content


def streaming_with_usage():
    pieces = list(litellm.completion(**ASKED, messages=TURNS, stream=True, stream_options={"include_usage": True}))
    assert pieces[-1].usage.completion_tokens == 5


def asynchronous():
    assert asyncio.run(litellm.acompletion(**ASKED, messages=TURNS)).choices[0].message.content


def tool_loop():
    turns = [{"role": "user", "content": "both, please"}]
    message = litellm.completion(**ASKED, messages=turns, tools=TOOLS).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["dose", "wind"]
    turns += [message, *({"role": "tool", "tool_call_id": call.id, "content": "20"} for call in message.tool_calls)]
    assert litellm.completion(**ASKED, messages=turns, tools=TOOLS).choices[0].message.content


def streamed_tool_calls():
    turns = [{"role": "user", "content": "both, please"}]
    pieces = list(litellm.completion(**ASKED, messages=turns, tools=TOOLS, stream=True))
    whole = litellm.stream_chunk_builder(pieces)
    assert [call.function.name for call in whole.choices[0].message.tool_calls] == ["dose", "wind"]


def structured_output():
    answer = litellm.completion(**ASKED, messages=TURNS, response_format=Dose).choices[0].message
    assert Dose.model_validate_json(answer.content) == Dose(mSv=20, where="室内")


tell(version("litellm"), [chat, two_turns, streaming_with_usage, asynchronous, tool_loop, streamed_tool_calls,
                          structured_output])  # fmt: skip
