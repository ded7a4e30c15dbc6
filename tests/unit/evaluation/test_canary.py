"""The canary against a server that copies: the smallest model that continues a text said twice. Faults are planted."""

import re

import pytest

from tasks.core.errors import DataContractError
from tasks.engine.client import AnswerCache, ServedClient
from tasks.evaluation.hops.canary import run_canary
from tests.unit.evaluation.copying import CopyingVllm


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
