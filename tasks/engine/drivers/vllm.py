"""vLLM: tells everything (0.32)."""

from collections.abc import Sequence

from tasks.core.errors import DataContractError
from tasks.engine.drivers.driver import Driver, Message, Standard
from tasks.engine.fingerprint import MIN_AGREEMENT, SERVED_HOP
from tasks.engine.queries import COMPLETIONS, continuation_query, greedy_query


class Vllm(Driver):
    """vLLM's own routes beside OpenAI's."""

    owner, name = "vllm", "vllm"
    standard = Standard(SERVED_HOP, MIN_AGREEMENT)
    run = "here, its CPU build"

    async def text_ids(self, text: str) -> list[int]:
        """See `Driver`."""
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        return list((await self.post("/tokenize", body))["tokens"])

    async def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `Driver`."""
        body = {"model": self.model, "messages": list(messages), "add_generation_prompt": True}
        return list((await self.post("/tokenize", body))["tokens"])

    async def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """See `Driver`."""
        query = greedy_query(prompt, tokens, "greedy")
        return list(query.read(await self.post(COMPLETIONS, {"model": self.model, **query.body})))

    async def score(self, before: Sequence[int], after: Sequence[int]) -> list[float]:
        """See `Driver`."""
        query = continuation_query(before, after, "score")
        (read,) = query.read(await self.post(COMPLETIONS, {"model": self.model, **query.body}))
        if len(read["logprobs"]) != len(after):
            raise DataContractError(f"{self.url} scored {len(read['logprobs'])} of {len(after)} tokens")
        return list(read["logprobs"])
