"""The canary against a server that copies: the smallest model that continues a text said twice. Faults are planted."""

import json
import math
import re

import pytest
from aiohttp import web

from tasks.core.errors import DataContractError
from tasks.evaluation.canary import run_canary
from tasks.evaluation.client import AnswerCache, ServedClient
from tests.unit.evaluation.conftest import FakeVllm

LIKELY, UNLIKELY = math.log(0.9), math.log(1e-4)


class CopyingVllm(FakeVllm):
    """A server whose model continues as the longest earlier match of its last tokens went on."""

    def following(self, ids):
        """Return the token after the longest earlier match of the end of `ids`; the first token where none matches."""
        best, length = ids[0], 0
        for place in range(1, len(ids)):
            same = 0
            while same < place and ids[place - 1 - same] == ids[-1 - same]:
                same += 1
            if same > length:
                best, length = ids[place], same
        return best

    def token_logprob(self, before, token, body):
        """Return a token's log-probability given those before it, as the planted fault has it."""
        if self.fault == "chance":
            return -math.log(259)
        likely = token == self.following(before)
        value = LIKELY if likely else UNLIKELY
        if self.fault == "forgetful":
            value = -2.0 - 0.001 * (token % 5)
        if self.fault == "processed":
            value += 2.0 * (str(token) in body.get("logit_bias", {})) - (0.5 if body.get("logit_bias") else 0)
        if self.fault == "two scales" and "logprob_token_ids" in body:
            value *= 4
        if self.fault == "logits":
            value = -0.1
        return value

    def position(self, before, token, body):
        """Return one entry of prompt_logprobs."""
        top = self.following(before)
        ranked = {str(top): {"logprob": self.token_logprob(before, top, body), "rank": 1}}
        value = {"logprob": self.token_logprob(before, token, body), "rank": 1 if token == top else 2}
        return ranked | {str(token): value}

    async def completions(self, request):
        """Answer as vLLM does, or with the planted fault."""
        body = await request.json()
        self.requests.append(body)
        ids = body["prompt"]
        choice = {"index": 0, "text": "", "logprobs": None, "token_ids": self.generated(ids, body["max_tokens"])}
        if "prompt_logprobs" in body and self.fault != "no prompt logprobs":
            choice["prompt_logprobs"] = [None] + [
                self.position(ids[:place], ids[place], body) for place in range(1, len(ids))
            ]
        if "logprob_token_ids" in body:
            top = {f"token_id:{token}": self.token_logprob(ids, token, body) for token in body["logprob_token_ids"]}
            choice["logprobs"] = {"tokens": [f"token_id:{self.following(ids)}"], "top_logprobs": [top]}
        name = "base" if self.fault == "wrong model" else body["model"]
        return web.Response(text=json.dumps({"model": name, "choices": [choice]}), content_type="application/json")

    def generated(self, ids, length):
        """Return the greedy continuation."""
        found = list(ids)
        for _ in range(length):
            found.append(17 if self.fault == "another sampler" else self.following(found))
        return found[len(ids) :][: 2 if self.fault == "cut short" else length]


@pytest.fixture
def canary(tokenizer):
    """Return a function that runs the canary against a server with a fault."""

    def run(fault=None, cache=None):
        with CopyingVllm(tokenizer, fault) as server:
            client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=cache or AnswerCache(None))
            return run_canary(client, tokenizer)

    return run


def test_a_working_server_passes(canary):
    found = canary()
    assert found == {"items": 19, "passed": True, "failures": []}


@pytest.mark.parametrize(("fault", "words"), [
    ("chance", r"scored|bits a token"),
    ("forgetful", r"scored"),
    ("processed", r"change with logit_bias: they are processed"),
    ("two scales", r"as a choice and .* in a prompt"),
    ("logits", r"add up to \d"),
    ("cut short", r"has 2 tokens, \d+ were asked for"),
    ("another sampler", r"begins with token 17"),
    ("wrong model", r"'m' was asked, 'base' answered"),
])  # fmt: skip
def test_each_planted_fault_is_found(canary, fault, words):
    found = canary(fault)
    assert not found["passed"]
    assert any(re.search(words, failure) for failure in found["failures"]), found["failures"]


def test_a_server_without_prompt_logprobs_is_an_error_and_no_score(canary):
    with pytest.raises(DataContractError, match="no prompt log-probabilities"):
        canary("no prompt logprobs")


def test_the_canary_is_about_the_server_that_runs_now(canary):
    cache = AnswerCache(None)
    assert canary(cache=cache)["passed"]
    assert not cache.values
    assert not canary("chance", cache=cache)["passed"]
