"""The harness's requests through a gateway with the real allow-list: the same scores as from vLLM itself."""

import pytest
from lm_eval.api.instance import Instance

from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine import client as client_module
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.queries import answer_query, choice_query, greedy_query
from tasks.evaluation.hops.canary import run_canary
from tasks.evaluation.hops.served_model import ServedModel
from tasks.evaluation.live import client as live_client
from tasks.evaluation.live.client import GatewayClient, _as_written
from tasks.evaluation.thinking import split_thinking
from tests.unit.evaluation.copying import CopyingGateway, CopyingVllm

LETTERS = [("A B C A B C A B", f" {letter}"[1:]) for letter in "ABCD"]
TEXTS = [("撤离，碘片。撤离，", "碘片。"), ("撤离，碘片。撤离，", "撤离"), ("one two one", " two")]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    for module in (client_module, live_client):
        monkeypatch.setattr(module, "RETRY_AFTER_S", (0.01, 0.01, 0.01))


@pytest.fixture
def gateway(tokenizer):
    """Return a function that starts a live endpoint with a fault; all are stopped at the end."""
    started = []

    def start(fault=None, **behaviour):
        server = CopyingGateway(behaviour.pop("served", tokenizer), fault, **behaviour)
        server.__enter__()
        started.append(server)
        return server

    yield start
    for server in started:
        server.__exit__()


def connect(server, tokenizer, key="tg_good"):
    return GatewayClient(server.url, key, "tg-live", tokenizer, concurrency=4, cache=AnswerCache(None))


def scored(client, tokenizer):
    pairs = [*LETTERS, *TEXTS]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    return [value for value, _ in ServedModel(client, tokenizer, "t").loglikelihood(requests)]


@pytest.mark.parametrize("narrow", [False, True], ids=["letters among the likeliest", "letters asked one by one"])
def test_scores_are_those_of_vllm_itself(gateway, tokenizer, narrow):
    with CopyingVllm(tokenizer) as vllm:
        direct = ServedClient(vllm.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
        expected = scored(direct, tokenizer)
    assert scored(connect(gateway(narrow=narrow), tokenizer), tokenizer) == pytest.approx(expected)
    assert len(set(expected)) > 2


def test_a_rendered_conversation_is_sent_as_the_conversation(gateway, tokenizer):
    server = gateway()
    client = connect(server, tokenizer)
    messages = [{"role": "user", "content": "碘片什么时候服用？"}]
    prompt = client.register(messages)
    plain = tokenizer.encode("一二三一二")
    chat, completion = client.ask([answer_query(prompt, 4, "a"), answer_query(plain, 3, "b")], "t")
    assert [("messages" in request, "prompt" in request) for request in server.requests] in (
        [(True, False), (False, True)], [(False, True), (True, False)],
    )  # fmt: skip
    assert completion == {"text": "三", "finish_reason": "length"}
    assert len(chat["text"].encode()) <= 4 * 3


def test_what_the_server_puts_before_a_text_is_not_sent_twice(gateway, other_tokenizer):
    from tokenizers.processors import TemplateProcessing

    with_bos = other_tokenizer()
    with_bos.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", with_bos.bos_token_id)]
    )
    server = gateway(served=with_bos)
    prompt = with_bos.encode("一二三一二")
    assert prompt[0] == with_bos.bos_token_id
    connect(server, with_bos).ask([answer_query(prompt, 3, "a")], "t")
    assert server.requests[0]["prompt"] == "一二三一二"


def test_the_canary_passes_through_the_gateway_and_finds_faults_there(gateway, tokenizer):
    found = run_canary(connect(gateway(), tokenizer), tokenizer, through_gateway=True)
    assert found == {"items": 9, "passed": True, "failures": []}
    for fault in ("chance", "forgetful", "processed"):
        assert not run_canary(connect(gateway(fault), tokenizer), tokenizer, through_gateway=True)["passed"], fault


def test_a_rate_limit_is_waited_for_and_nothing_is_lost(gateway, tokenizer):
    limited, free = gateway("rate limit"), gateway()
    assert scored(connect(limited, tokenizer), tokenizer) == scored(connect(free, tokenizer), tokenizer)
    assert len(limited.requests) > len(free.requests)


@pytest.mark.parametrize(("fault", "error", "words"), [
    ("swap", TransientError, "the live version changed"),
    ("no logprobs", DataContractError, "no log-probabilities"),
    ("other tokenizer", DataContractError, "another tokenizer"),
])  # fmt: skip
def test_an_endpoint_that_cannot_be_evidence_ends_the_run(gateway, tokenizer, fault, error, words):
    with pytest.raises(error, match=words):
        scored(connect(gateway(fault), tokenizer), tokenizer)


def test_refusals_say_what_to_do(gateway, tokenizer):
    with pytest.raises(ConfigError, match="refuses the key") as caught:
        scored(connect(gateway(), tokenizer, key="tg_bad"), tokenizer)
    assert "TUNEGATE_API_KEY" in caught.value.hint
    with pytest.raises(TransientError, match="live version changed"):
        scored(connect(gateway(lineage_id="tg-other"), tokenizer), tokenizer)
    with pytest.raises(ConfigError, match="max_tokens"):
        connect(gateway(), tokenizer).ask([answer_query([5], 100_000, "a")], "t")


def test_what_no_caller_may_ask_is_not_sent(gateway, tokenizer):
    server = gateway()
    with pytest.raises(ConfigError, match="ignore_eos"):
        connect(server, tokenizer).ask([greedy_query([5], 4, "a")], "t")
    assert server.requests == []


def test_ids_that_are_no_text_are_an_error_and_no_other_question(gateway, tokenizer):
    half = tokenizer.encode("碘")[:2]
    with pytest.raises(DataContractError, match="no text that has them"):
        connect(gateway(), tokenizer).ask([answer_query(half, 4, "half a character")], "t")


def test_a_lost_endpoint_is_transient_and_what_was_received_is_kept(gateway, tokenizer):
    cache = AnswerCache(None)
    server = gateway(dies_after=3)
    client = GatewayClient(server.url, "tg_good", "tg-live", tokenizer, concurrency=1, cache=cache)
    with pytest.raises(TransientError, match="is lost"):
        scored(client, tokenizer)
    kept = len(cache.values)
    assert kept == 3
    again = gateway()
    scored(GatewayClient(again.url, "tg_good", "tg-live", tokenizer, concurrency=1, cache=cache), tokenizer)
    assert len(again.requests) == len(cache.values) - kept


def test_a_letter_that_cannot_be_asked_for_has_no_more_than_the_least_of_the_likeliest(gateway, tokenizer):
    half = tokenizer.encode("碘")[0]
    known = tokenizer.encode("A")[0]
    client = connect(gateway(), tokenizer)
    query = choice_query(tokenizer.encode("A B A "), [known, half], "t")
    one, other = (row["logprobs"][0] for row in client.ask([query], "t")[0])
    assert one >= other
    with pytest.raises(DataContractError, match="none of its tokens"):
        client.ask([choice_query(tokenizer.encode("A B A "), [half], "t")], "t")


@pytest.mark.parametrize("message", [
    {"content": "关窗", "reasoning": "想"}, {"content": None, "reasoning": "想"},
    {"content": "关窗", "reasoning": None}, {"content": "关窗"},
])  # fmt: skip
def test_a_thought_in_a_field_of_its_own_is_read_as_one_in_the_text(message):
    answer, thought = split_thinking(_as_written(message))
    assert (answer, thought) == (message["content"], message.get("reasoning"))
