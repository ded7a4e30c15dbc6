"""The lm-eval model over HTTP, against a fake vLLM that can misbehave."""

import json

import pytest
from lm_eval.api.instance import Instance

from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine import client as client_module
from tasks.engine.client import AnswerCache, ServedClient, finite
from tasks.evaluation.hops.served_model import ServedModel


def instances(*pairs, kind="loglikelihood"):
    return [Instance(request_type=kind, doc={}, arguments=pair, idx=number) for number, pair in enumerate(pairs)]


def connect(server, cache=None, **changes):
    values = {"model_digest": "d", "concurrency": 4, "cache": cache or AnswerCache(None)}
    return ServedClient(server.url, "m", **(values | changes))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(client_module, "RETRY_AFTER_S", (0.01, 0.01, 0.01))


LETTERS = [("题目。答案：", letter) for letter in "ABCD"]


def test_letters_of_one_item_cost_one_request(fake_vllm, tokenizer):
    server = fake_vllm()
    values = ServedModel(connect(server), tokenizer, "t").loglikelihood(instances(*LETTERS))
    ids = [tokenizer.encode(letter)[0] for letter in "ABCD"]
    assert values == [(server.logprob(token), False) for token in ids]
    (request,) = server.requests
    assert request["logprob_token_ids"] == ids
    assert request["prompt"] == tokenizer.encode("题目。答案：")
    assert "allowed_token_ids" not in request


def test_longer_continuations_sum_their_own_tokens_only(fake_vllm, tokenizer):
    server = fake_vllm()
    model = ServedModel(connect(server), tokenizer, "t")
    ((total, greedy),) = model.loglikelihood(instances(("问：", "碘片")))
    ids = tokenizer.encode("碘片")
    assert len(ids) == 6
    assert total == pytest.approx(sum(server.logprob(token) for token in ids))
    assert not greedy
    assert model.scored["问：", "碘片"].top_ids == [3] * 6
    assert server.requests[0]["prompt"] == tokenizer.encode("问：碘片")


def test_answers_come_back_in_the_order_asked(fake_vllm, tokenizer):
    server = fake_vllm()
    pairs = [(f"问题{number}：", f"答{'案' * (number % 5 + 1)}") for number in range(20)] + LETTERS
    values = ServedModel(connect(server), tokenizer, "t").loglikelihood(instances(*pairs))
    assert values == [(pytest.approx(sum(map(server.logprob, tokenizer.encode(text)))), False) for _, text in pairs]


def test_chat_prompts_get_no_second_special_tokens(fake_vllm, tokenizer):
    model = ServedModel(connect(fake_vllm()), tokenizer, "t")
    text = model.apply_chat_template([{"role": "user", "content": "你好"}])
    assert text == "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    before, after = model.encode(text, "好")
    assert tokenizer.decode(before + after) == text + "好"


def test_generation(fake_vllm, tokenizer):
    server = fake_vllm()
    arguments = ("问：", {"until": ["\n"], "max_gen_toks": 7})
    assert ServedModel(connect(server), tokenizer, "t").generate_until(instances(arguments, kind="generate_until")) == [
        "好的"
    ]
    assert (server.requests[0]["stop"], server.requests[0]["max_tokens"]) == (["\n"], 7)


@pytest.mark.parametrize("fault", ["no prompt logprobs", "NaN", "minus infinity", "null", "NaN in JSON encoder"])
def test_prompt_logprobs_that_mean_nothing_are_an_error(fake_vllm, tokenizer, fault):
    with pytest.raises(DataContractError, match=r"log-probabilit|NaN"):
        ServedModel(connect(fake_vllm(fault)), tokenizer, "t").loglikelihood(instances(("问：", "碘片")))


@pytest.mark.parametrize("fault", ["no choice logprobs", "NaN", "minus infinity", "null"])
def test_choice_logprobs_that_mean_nothing_are_an_error(fake_vllm, tokenizer, fault):
    with pytest.raises(DataContractError, match="log-probability"):
        ServedModel(connect(fake_vllm(fault)), tokenizer, "t").loglikelihood(instances(*LETTERS))


def test_an_empty_continuation_is_refused(fake_vllm, tokenizer):
    with pytest.raises(DataContractError, match="empty context or continuation"):
        ServedModel(connect(fake_vllm()), tokenizer, "t").loglikelihood(instances(("问：", "")))


def test_a_busy_server_is_asked_again(fake_vllm, tokenizer):
    server = fake_vllm("busy twice")
    assert len(ServedModel(connect(server, concurrency=1), tokenizer, "t").loglikelihood(instances(*LETTERS))) == 4
    assert len(server.requests) == 3


def test_a_request_that_is_too_long_is_not_tried_again(fake_vllm, tokenizer):
    server = fake_vllm("too long")
    with pytest.raises(ConfigError, match="maximum context length") as caught:
        ServedModel(connect(server), tokenizer, "t").loglikelihood(instances(*LETTERS))
    assert "max_model_length_tokens" in caught.value.hint
    assert len(server.requests) == 1


def test_a_dead_server_is_transient_and_a_restart_continues(fake_vllm, tokenizer, tmp_path):
    pairs = instances(*[(f"问题{number}：", "碘片") for number in range(6)])
    dying = fake_vllm("dies after two")
    with AnswerCache(tmp_path / "answers.jsonl") as cache, pytest.raises(TransientError, match="is lost"):
        ServedModel(connect(dying, cache, concurrency=1), tokenizer, "t").loglikelihood(pairs)
    healthy = fake_vllm()
    with AnswerCache(tmp_path / "answers.jsonl") as cache:
        values = ServedModel(connect(healthy, cache), tokenizer, "t").loglikelihood(pairs)
    assert len(values) == 6
    assert len(healthy.requests) == 4


def test_a_server_that_was_never_there_is_transient(tokenizer):
    class Nowhere:
        url = "http://127.0.0.1:9"

    with pytest.raises(TransientError, match="is lost"):
        ServedModel(connect(Nowhere), tokenizer, "t").loglikelihood(instances(*LETTERS))


def test_a_dead_process_is_not_waited_for(tokenizer, monkeypatch):
    class Nowhere:
        url = "http://127.0.0.1:9"

    monkeypatch.setattr(client_module, "RETRY_AFTER_S", (60.0,))
    with pytest.raises(TransientError):
        ServedModel(connect(Nowhere, alive=lambda: False), tokenizer, "t").loglikelihood(instances(*LETTERS))


def test_kept_answers_belong_to_one_model(fake_vllm, tokenizer, tmp_path):
    server = fake_vllm()
    for digest, requests in (("one", 1), ("one", 1), ("two", 2)):
        with AnswerCache(tmp_path / "answers.jsonl") as cache:
            ServedModel(connect(server, cache, model_digest=digest), tokenizer, "t").loglikelihood(instances(*LETTERS))
        assert len(server.requests) == requests


def test_a_line_cut_by_a_kill_is_asked_again(fake_vllm, tokenizer, tmp_path):
    path = tmp_path / "answers.jsonl"
    server = fake_vllm()
    with AnswerCache(path) as cache:
        ServedModel(connect(server, cache), tokenizer, "t").loglikelihood(instances(*LETTERS))
    path.write_text(path.read_text()[:-20])
    for _ in range(2):
        with AnswerCache(path) as cache:
            ServedModel(connect(server, cache), tokenizer, "t").loglikelihood(instances(*LETTERS))
    assert len(server.requests) == 2
    assert json.loads(path.read_text().splitlines()[-1])["value"]


@pytest.mark.parametrize("value", [None, float("nan"), float("-inf"), -9999.0, 0.5, "0", True])
def test_finite_never_lets_a_silent_zero_through(value):
    with pytest.raises(DataContractError):
        finite(value, "item")
