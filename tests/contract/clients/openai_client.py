"""The openai client for Python: sync, async, streams, helpers."""

import asyncio

import openai
from looks import KEY, QUESTION, URL, tell
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
ASKED = {"model": "champion", "messages": [{"role": "user", "content": QUESTION}]}
BOTH = {"model": "champion", "messages": [{"role": "user", "content": "both, please"}]}


class Dose(BaseModel):
    mSv: int
    where: str


TOOLS = [
    openai.pydantic_function_tool(Dose, name="dose"),
    {"type": "function", "function": {"name": "wind", "parameters": {"type": "object", "properties": {}}}},
]


def chat():
    assert client.chat.completions.create(**ASKED).choices[0].message.content


def two_turns():
    first = client.chat.completions.create(**ASKED).choices[0].message
    turns = [*ASKED["messages"], first, {"role": "user", "content": "然后？"}]
    assert client.chat.completions.create(model="champion", messages=turns).choices[0].message.content


def streaming_with_usage():
    chunks = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 5


def asynchronous():
    async def asked():
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as other:
            stream = await other.chat.completions.create(**ASKED, stream=True)
            return [chunk async for chunk in stream]

    assert asyncio.run(asked())


def tool_loop():
    turns = list(BOTH["messages"])
    message = client.chat.completions.create(model="champion", messages=turns, tools=TOOLS).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["dose", "wind"]
    turns += [message, *({"role": "tool", "tool_call_id": call.id, "content": "20"} for call in message.tool_calls)]
    assert client.chat.completions.create(model="champion", messages=turns, tools=TOOLS).choices[0].message.content


def streamed_tool_calls():
    with client.chat.completions.stream(**BOTH, tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.parsed_arguments == Dose(mSv=20, where="室内")
    turns = [*BOTH["messages"], message]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": "20"} for call in message.tool_calls]
    assert client.chat.completions.create(model="champion", messages=turns, tools=TOOLS)


def structured_output():
    message = client.chat.completions.parse(**ASKED, response_format=Dose).choices[0].message
    assert message.parsed == Dose(mSv=20, where="室内")
    turns = [*ASKED["messages"], message, {"role": "user", "content": "然后？"}]
    assert client.chat.completions.create(model="champion", messages=turns)


def cancellation():
    stream = client.chat.completions.create(**ASKED, stream=True)
    next(iter(stream))
    stream.close()
    chat()


def responses():
    first = client.responses.create(model="champion", input=QUESTION)
    assert first.output_text
    turns = [{"role": "user", "content": QUESTION}, *first.output, {"role": "user", "content": "然后？"}]
    with client.responses.stream(model="champion", input=turns) as stream:
        assert stream.get_final_response().output_text


FLAT = [
    openai.pydantic_function_tool(Dose, name="dose")["function"] | {"type": "function"},
    {"type": "function", "name": "wind", "parameters": {"type": "object", "properties": {}}, "strict": False},
]


def responses_tool_loop():
    turns = [{"role": "user", "content": "both, please"}]
    first = client.responses.create(model="champion", input=turns, tools=FLAT)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["dose", "wind"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "20"} for call in calls]
    assert client.responses.create(model="champion", input=[*turns, *first.output, *results], tools=FLAT).output_text


def responses_streamed_tool_calls():
    turns = [{"role": "user", "content": "both, please"}]
    tools = [openai.pydantic_function_tool(Dose, name="dose")]
    flat = [{"type": "function", **tool["function"]} for tool in tools]
    with client.responses.stream(model="champion", input=turns, tools=flat) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert Dose.model_validate_json(final.output[0].arguments) == Dose(mSv=20, where="室内")


tell(openai.__version__, [chat, two_turns, streaming_with_usage, asynchronous, tool_loop, streamed_tool_calls,
                          structured_output, cancellation, responses, responses_tool_loop,
                          responses_streamed_tool_calls])  # fmt: skip
