"""LangChain's ChatOpenAI."""

import asyncio
from importlib.metadata import version

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from looks import KEY, QUESTION, URL, tell
from pydantic import BaseModel

model = ChatOpenAI(model="champion", base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


class Dose(BaseModel):
    """A dose."""

    mSv: int
    where: str


@tool
def dose(place: str) -> str:
    """Return the dose at a place."""
    return f"20 mSv {place}"


@tool
def wind(place: str) -> str:
    """Return the wind at a place."""
    return f"N {place}"


def chat():
    assert model.invoke(QUESTION).content


def two_turns():
    turns = [HumanMessage(QUESTION)]
    turns += [model.invoke(turns), HumanMessage("然后？")]
    assert model.invoke(turns).content


def streaming_with_usage():
    pieces = list(model.stream(QUESTION, stream_usage=True))
    assert sum((piece.usage_metadata or {}).get("output_tokens", 0) for piece in pieces) == 5


def asynchronous():
    assert asyncio.run(model.ainvoke(QUESTION)).content


def tool_loop():
    able, turns = model.bind_tools([dose, wind]), [HumanMessage("both, please")]
    answer = able.invoke(turns)
    assert [call["name"] for call in answer.tool_calls] == ["dose", "wind"]
    turns += [answer, *(ToolMessage("20", tool_call_id=call["id"]) for call in answer.tool_calls)]
    assert able.invoke(turns).content


def streamed_tool_calls():
    pieces = list(model.bind_tools([dose, wind]).stream("both, please"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert [call["name"] for call in whole.tool_calls] == ["dose", "wind"]


def structured_output():
    assert model.with_structured_output(Dose).invoke(QUESTION) == Dose(mSv=20, where="室内")
    assert model.with_structured_output(Dose, method="function_calling").invoke(QUESTION) == Dose(mSv=20, where="室内")


def cancellation():
    stream = model.stream(QUESTION)
    next(stream)
    stream.close()
    chat()


tell(version("langchain-openai"), [chat, two_turns, streaming_with_usage, asynchronous, tool_loop,
                                   streamed_tool_calls, structured_output, cancellation])  # fmt: skip
