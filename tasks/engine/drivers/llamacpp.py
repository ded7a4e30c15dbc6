"""llama.cpp's server: tells tokens, takes and gives token ids; scores only what it generates.

Source: llama.cpp, tools/server/README.md (build 11549).
"""

from collections.abc import Sequence

from tasks.engine.drivers.driver import GGUF_STANDARD, CannotTellError, Driver, Message


class LlamaCpp(Driver):
    """llama.cpp's own routes beside OpenAI's."""

    owner, name = "llamacpp", "llamacpp"
    standard = GGUF_STANDARD
    run = "here"

    async def text_ids(self, text: str) -> list[int]:
        """See `Driver`."""
        body = {"model": self.model, "content": text, "add_special": False, "parse_special": True}
        return list((await self.post("/tokenize", body))["tokens"])

    async def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `Driver`: the rendered text, then its tokens, as the server itself does."""
        body = {"model": self.model, "messages": list(messages)}
        return await self.text_ids((await self.post("/apply-template", body))["prompt"])

    async def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """See `Driver`. `ignore_eos` forbids ends of turn here; asked on behind each one, they stand as elsewhere."""
        found: list[int] = []
        while len(found) < tokens:
            body = {
                "model": self.model, "prompt": [*prompt, *found], "n_predict": tokens - len(found), "temperature": 0,
                "top_k": 1, "return_tokens": True, "cache_prompt": False,
            }  # fmt: skip
            more = list((await self.post("/completion", body)).get("tokens") or [])
            if not more:
                raise CannotTellError("no token ids in its answer")
            found += more
        return found[:tokens]

    async def score(self, before: Sequence[int], after: Sequence[int]) -> list[float]:
        """See `Driver`."""
        raise CannotTellError("it has no log-probabilities of a prompt")
