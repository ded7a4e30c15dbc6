"""How like two greedy fingerprints are, and that evidence without one is refused."""

import subprocess
import sys

import pytest

from tasks.core.errors import DataContractError
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.fingerprint import (
    FINGERPRINT_PROMPTS,
    FINGERPRINT_TOKENS,
    Fingerprint,
    agreement,
    fingerprint,
    likest,
)

AWQ = [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_every_prompt_is_asked_greedily_and_not_stopped(fake_vllm, tokenizer):
    server = fake_vllm()
    client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
    assert fingerprint(client, tokenizer) == [[5, 6]] * len(FINGERPRINT_PROMPTS)
    assert len(server.requests) == len(FINGERPRINT_PROMPTS)
    for request in server.requests:
        assert (request["max_tokens"], request["temperature"], request["ignore_eos"]) == (FINGERPRINT_TOKENS, 0, True)


def test_the_answers_begin_behind_an_empty_thought_of_the_template(fake_vllm, other_tokenizer):
    tokenizer = other_tokenizer(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n"
        "{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    server = fake_vllm()
    client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
    fingerprint(client, tokenizer)
    prompts = {tokenizer.decode(request["prompt"]) for request in server.requests}
    assert prompts == {
        f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        for text in FINGERPRINT_PROMPTS
    }


@pytest.mark.parametrize(("found", "share"), [
    (AWQ, 1.0), ([[1, 2, 3, 9], [5, 6, 7, 8]], 7 / 8), ([[9, 2, 3, 4], [5, 6, 7, 8]], 0.5), ([[], [5]], 1 / 8),
])  # fmt: skip
def test_agreement_counts_up_to_the_first_difference(found, share):
    assert agreement(found, AWQ) == share


def test_the_likest_hop_is_named():
    assert likest([[1, 2, 0, 0], [5, 6, 7, 8]], {"base": [[0] * 4] * 2, "awq": AWQ}) == ("awq", 0.75)


@pytest.mark.parametrize("answers", [{}, {"base": AWQ}, {"awq": []}, {"awq": [[1]]}, {"awq": [[], [1]]},
                                     {"awq": AWQ, "base": [[1]]}])  # fmt: skip
def test_evidence_that_nothing_can_be_held_to_is_refused(answers):
    with pytest.raises(DataContractError, match="no fingerprint"):
        Fingerprint.of_row({"prompts": ["一", "二"], "answers": answers})


def test_the_way_over_the_control_socket_changes_nothing():
    given = Fingerprint(("一", "二"), {"awq": AWQ})
    assert Fingerprint.of_row(given.row()) == given


def test_the_serving_host_imports_nothing_heavy_for_it():
    code = (
        "import sys, tasks.engine.smoke; print([m for m in ('torch', 'lm_eval', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
