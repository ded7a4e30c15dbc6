"""Callers who keep so many requests under way, and what became of each: whole, an error that says so, cut, or lost."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

CHAT = "/v1/chat/completions"
QUESTIONS = (
    "碘片什么时候服用？", "核电厂场外应急时，公众应当怎样隐蔽？", "撤离时应当带什么？", "污染的衣服怎么处理？",
    "应急状态分几级？每一级做什么？", "When does one take iodine tablets?", "孕妇能不能服用碘片？", "饮用水能不能喝？",
)  # fmt: skip
EVENT_END = "\n\n"

#: whole: HTTP 200 to its last byte; error: an error event at the end of a stream; refused: an error status in OpenAI's
#: form; cut: an answer that broke off and does not say so, or an error in no form; lost: no answer at all.
Fate = Literal["whole", "error", "refused", "cut", "lost"]


@dataclass(frozen=True)
class Answer:
    """One request and what became of it; times by the monotonic clock.

    Args:
        code: of an error, e.g. `upstream_lost`; else what broke.
    """

    began: float
    ended: float
    stream: bool
    fate: Fate
    code: str = ""
    request_id: str = ""
    version: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Callers:
    """So many callers at once, who ask one new question after another, every other one for a stream.

    Args:
        url: of the gateway.
        concurrency: how many.
        tokens: least and most completion tokens of a request.
    """

    def __init__(self, url: str, key: str, concurrency: int, tokens: tuple[int, int], seed: int = 20261129) -> None:
        self.url, self.headers = f"{url}{CHAT}", {"Authorization": f"Bearer {key}"}
        self.concurrency, self.tokens, self.dice = concurrency, tokens, random.Random(seed)
        self.answers: list[Answer] = []
        self.asked = 0

    async def until(self, over: Callable[[], bool]) -> None:
        """Ask until it is over; what is under way then is waited for."""
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None, sock_read=200)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self.headers) as session:
            await asyncio.gather(*(self._caller(session, over) for _ in range(self.concurrency)))

    async def _caller(self, session: aiohttp.ClientSession, over: Callable[[], bool]) -> None:
        """Ask one after the other."""
        while not over():
            answer = await self._ask(session)
            self.answers.append(answer)
            if answer.fate != "whole":
                # As the client libraries do.
                await asyncio.sleep(0.5)

    async def _ask(self, session: aiohttp.ClientSession) -> Answer:
        """Ask once."""
        self.asked += 1
        question, stream = f"{self.dice.choice(QUESTIONS)}（{self.asked}）", self.asked % 2 == 0
        body = {"model": "champion", "messages": [{"role": "user", "content": question}], "stream": stream,
                "max_tokens": self.dice.randint(*self.tokens), "temperature": 0}  # fmt: skip
        began, text, status = time.monotonic(), "", 0
        request_id = version = ""
        try:
            async with session.post(self.url, json=body) as response:
                status, headers = response.status, response.headers
                request_id, version = headers.get("x-request-id", ""), headers.get("x-tunegate-version", "")
                text = (await response.read()).decode("utf-8", "replace")
            fate, code = judged(status, text, stream=stream)
        except (aiohttp.ClientError, TimeoutError) as error:
            fate, code = ("cut" if status else "lost"), type(error).__name__
        return Answer(began, time.monotonic(), stream, fate, code, request_id, version)


def judged(status: int, text: str, *, stream: bool) -> tuple[Fate, str]:
    """Return what became of an answer that was read to its end, and the code of its error."""
    if status != 200:
        code = _error_code(text)
        return ("refused", code) if code else ("cut", f"HTTP {status} in no form")
    if not stream:
        try:
            choice = json.loads(text)["choices"][0]
        except (ValueError, LookupError):
            return "cut", "no JSON"
        return ("whole", "") if choice["finish_reason"] in ("stop", "length") else ("cut", "no finish_reason")
    return _judged_stream([event for event in text.split(EVENT_END) if event])


def _judged_stream(events: list[str]) -> tuple[Fate, str]:
    """Return what became of a stream."""
    data = [event.removeprefix("data: ") for event in events]
    if codes := [code for event in data if (code := _error_code(event))]:
        return "error", codes[0]
    finished = any(f'"finish_reason":"{reason}"' in event.replace(" ", "") for event in data
                   for reason in ("stop", "length"))  # fmt: skip
    if data and data[-1] == "[DONE]" and finished:
        return "whole", ""
    return "cut", "no [DONE]" if finished else "no finish_reason"


def _error_code(text: str) -> str:
    """Return the code of an error in OpenAI's form, "" where it is none."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    return str(error.get("code") or error["type"]) if isinstance(error, dict) and error.get("message") else ""
