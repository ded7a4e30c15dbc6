"""The contract of a driver: what an evaluation and a fingerprint ask of an engine, and how it tells it cannot."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tasks.core.errors import DataContractError

Message = dict[str, str]


@dataclass(frozen=True)
class Standard:
    """What an engine's greedy answers are held to.

    Args:
        hop: whose answers in the evidence: what the engine's file was made from.
        least: share of the fingerprint's tokens that must be the same.
        not_hop: a hop that the answers must not be most like; None for none.
    """

    hop: str
    least: float
    not_hop: str | None = None


#: Of an engine that serves a GGUF file, made from merged weights. Measured on a run of the laptop profile, share of hop
#: merged's tokens: F16 0.80, Q8_0 0.65, Q4_K_M 0.48; the base itself under the name 0.27.
GGUF_STANDARD = Standard("merged", 0.4, not_hop="base")


class CannotTellError(Exception):
    """The engine has no way to say what is asked; the text says what is missing."""


class Driver(ABC):
    """One engine's own way to be asked. Subclasses hold no state but where it is.

    Args:
        session: that carries the token, if there is one.
        url: base URL without /v1.
        model: the name it serves.
    """

    #: What `/v1/models` says in `owned_by`, the engine's name here, and what it is held to.
    owner: str
    name: str
    standard: Standard
    #: Where this driver was run against its engine; shown beside what it may be used for.
    run: str

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str) -> None:
        self.session, self.url, self.model = session, url, model

    @abstractmethod
    async def text_ids(self, text: str) -> list[int]:
        """Return the token ids of a text: special tokens in it are read, none are added.

        Raises:
            CannotTellError: the engine does not say.
        """

    @abstractmethod
    async def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids the engine makes of a conversation that waits for an answer.

        Raises:
            CannotTellError: the engine does not say.
        """

    @abstractmethod
    async def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """Return the token ids of a greedy continuation, not stopped by an end of turn.

        Raises:
            CannotTellError: the engine takes or gives text alone.
        """

    @abstractmethod
    async def score(self, before: Sequence[int], after: Sequence[int]) -> list[float]:
        """Return the log-probability of each token of `after`, given all before it, in one request.

        Raises:
            CannotTellError: the engine scores only what it generates.
        """

    async def answer(self, question: str, tokens: int) -> str:
        """Return the text of a greedy answer to a question, by OpenAI's route."""
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], "temperature": 0,
                "max_tokens": tokens}  # fmt: skip
        choice = (await self.post("/v1/chat/completions", body))["choices"][0]
        return str(choice["message"]["content"] or "")

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object that a route answers.

        Raises:
            CannotTellError: it has no such route.
            DataContractError: it refuses the request, or answers with something else.
        """
        try:
            return await self._posted(path, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # An idle connection was closed under it (llama.cpp's after 5 s): what is asked changes nothing there.
            return await self._posted(path, body)

    async def _posted(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask once."""
        async with self.session.post(f"{self.url}{path}", json=body) as answer:
            text = await answer.text()
            if answer.status in (404, 405, 501):
                raise CannotTellError(f"no {path}")
            if answer.status != 200:
                raise DataContractError(f"{self.name} at {self.url}: {path} gave HTTP {answer.status}: {text[:300]}")
            value = await answer.json(content_type=None)
        if not isinstance(value, dict):
            raise DataContractError(f"{self.name} at {self.url}: {path} answered no JSON object")
        return value
