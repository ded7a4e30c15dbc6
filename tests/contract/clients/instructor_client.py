"""instructor: structured answers in three modes."""

from importlib.metadata import version

import instructor
import openai
from looks import KEY, QUESTION, URL, tell
from pydantic import BaseModel

plain = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
TURNS = [{"role": "user", "content": QUESTION}]


class Dose(BaseModel):
    """A dose."""

    mSv: int
    where: str


def asked(mode):
    client = instructor.from_openai(plain, mode=mode)
    found = client.chat.completions.create(model="champion", messages=TURNS, response_model=Dose, max_retries=0)
    assert (found.mSv, found.where) == (20, "室内")


def tool_loop():
    asked(instructor.Mode.TOOLS)


def structured_output():
    asked(instructor.Mode.JSON_SCHEMA)


def streamed_structured_output():
    client = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)
    pieces = list(client.chat.completions.create_partial(model="champion", messages=TURNS, response_model=Dose))
    assert pieces[-1].mSv == 20


tell(version("instructor"), [tool_loop, structured_output, streamed_structured_output])
