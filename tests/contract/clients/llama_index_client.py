"""LlamaIndex's OpenAILike."""

import asyncio
from importlib.metadata import version

from llama_index.core.llms import ChatMessage
from llama_index.core.program import LLMTextCompletionProgram  # noqa: F401 - shows that core is whole
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from looks import KEY, QUESTION, URL, tell
from pydantic import BaseModel

model = OpenAILike(
    model="champion", api_base=f"{URL}/v1", api_key=KEY, is_chat_model=True, is_function_calling_model=True,
    max_retries=0,
)  # fmt: skip


class Dose(BaseModel):
    """A dose."""

    mSv: int
    where: str


def dose(place: str) -> str:
    """Return the dose at a place."""
    return f"20 mSv {place}"


def chat():
    assert model.chat([ChatMessage(role="user", content=QUESTION)]).message.content


def two_turns():
    turns = [ChatMessage(role="user", content=QUESTION)]
    turns += [model.chat(turns).message, ChatMessage(role="user", content="然后？")]
    assert model.chat(turns).message.content


def streaming_with_usage():
    pieces = list(model.stream_chat([ChatMessage(role="user", content=QUESTION)],
                                    stream_options={"include_usage": True}))  # fmt: skip
    assert pieces[-1].raw.usage.completion_tokens == 5


def asynchronous():
    assert asyncio.run(model.achat([ChatMessage(role="user", content=QUESTION)])).message.content


def tool_loop():
    tool = FunctionTool.from_defaults(dose)
    question = ChatMessage(role="user", content=QUESTION)
    answer = model.chat_with_tools([tool], user_msg=question)
    (call,) = model.get_tool_calls_from_response(answer)
    assert call.tool_name == "dose"
    result = ChatMessage(role="tool", content="20", additional_kwargs={"tool_call_id": call.tool_id})
    assert model.chat([question, answer.message, result]).message.content


def structured_output():
    found = model.as_structured_llm(Dose).chat([ChatMessage(role="user", content=QUESTION)])
    assert found.raw == Dose(mSv=20, where="室内")


def cancellation():
    stream = model.stream_chat([ChatMessage(role="user", content=QUESTION)])
    next(iter(stream))
    stream.close()
    chat()


tell(version("llama-index-llms-openai-like"), [chat, two_turns, streaming_with_usage, asynchronous, tool_loop,
                                               structured_output, cancellation])  # fmt: skip
