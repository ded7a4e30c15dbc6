"""Engines that are known by URL and were not run here: written from their documentation, held to the same suite."""

from collections.abc import Sequence

from tasks.core.errors import DataContractError
from tasks.engine.drivers.driver import GGUF_STANDARD, CannotTellError, Driver, Message, Standard
from tasks.engine.fingerprint import MIN_AGREEMENT, SERVED_HOP

_NOT_RUN = "not run: a GPU and its server are needed"


class Sglang(Driver):
    """SGLang: its native /generate takes token ids and scores a prompt (docs: Sampling Parameters, native APIs)."""

    owner, name = "sglang", "sglang"
    standard = Standard(SERVED_HOP, MIN_AGREEMENT)
    run = _NOT_RUN

    async def text_ids(self, text: str) -> list[int]:
        """See `Driver`."""
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        return list((await self.post("/v1/tokenize", body))["tokens"])

    async def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `Driver`."""
        raise CannotTellError("it does not say what its template makes of a conversation")

    async def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """See `Driver`."""
        sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
        body = {"input_ids": list(prompt), "sampling_params": sampling}
        return list((await self.post("/generate", body))["output_ids"])

    async def score(self, before: Sequence[int], after: Sequence[int]) -> list[float]:
        """See `Driver`."""
        body = {"input_ids": [*before, *after], "sampling_params": {"temperature": 0, "max_new_tokens": 1},
                "return_logprob": True, "logprob_start_len": len(before) - 1}  # fmt: skip
        rows = (await self.post("/generate", body))["meta_info"]["input_token_logprobs"][-len(after) :]
        if [row[1] for row in rows] != list(after):
            raise DataContractError(f"{self.url} scored other tokens than were asked")
        return [float(row[0]) for row in rows]


class TextOnly(Driver):
    """An engine that is asked in text and answers in text."""

    owner, name = "", "other"
    standard = Standard(SERVED_HOP, MIN_AGREEMENT)
    run = "whatever speaks OpenAI's routes"

    async def text_ids(self, text: str) -> list[int]:
        """See `Driver`."""
        raise CannotTellError("it does not say what its tokens are")

    async def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `Driver`."""
        raise CannotTellError("it does not say what its template makes of a conversation")

    async def greedy(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """See `Driver`."""
        raise CannotTellError("it takes and gives text alone")

    async def score(self, before: Sequence[int], after: Sequence[int]) -> list[float]:
        """See `Driver`."""
        raise CannotTellError("it has no log-probabilities of a prompt")


class TensorRtLlm(TextOnly):
    """trtllm-serve: OpenAI's routes."""

    owner, name, run = "tensorrt_llm", "tensorrt-llm", _NOT_RUN


class Ollama(TextOnly):
    """Ollama: OpenAI's routes; serves a GGUF file, so it is held to what that was made from."""

    owner, name, run = "library", "ollama", "not run: no package of it in reach"
    standard = GGUF_STANDARD
