"""The figures by which candidates are compared, against the same figures computed another way."""

import math
from dataclasses import replace

import pytest
import torch

from tasks.chat.rows import IGNORED, TokenRow
from tasks.core.errors import DataContractError
from tasks.core.files import write_jsonl
from tasks.quantization.heldout import PIECE_POSITIONS, HeldOut, Measured, logits_of, measure, read_heldout
from tests.unit.quantization.conftest import chat

VOCABULARY = 7


class Fixed:
    """A model that gives the same logits at every call; the real ones take `logits_to_keep` in this way."""

    device = torch.device("cpu")

    def __init__(self, table):
        self.table = table

    def eval(self):
        return self

    def __call__(self, input_ids, logits_to_keep, use_cache):
        class Output:
            logits = self.table[logits_to_keep].to(torch.bfloat16).unsqueeze(0)

        return Output


@pytest.fixture
def heldout():
    """One row of 600 tokens, the last 598 of them answer: more than two pieces."""
    ids = [n % VOCABULARY for n in range(600)]
    return HeldOut([TokenRow("r", [], ids, [IGNORED] * 2 + ids[2:])], 598, 1196)


def table(seed, spread=1.0):
    return torch.randn(600, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def test_loss_perplexity_and_bits_are_those_of_cross_entropy(heldout):
    logits = table(1)
    tokens = torch.tensor(heldout.rows[0].input_ids[2:])
    expected = torch.nn.functional.cross_entropy(logits[1:-1].bfloat16().double(), tokens).item()
    found = measure(logits_of(Fixed(logits), heldout), heldout)
    assert found.loss_nats == pytest.approx(expected, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(expected), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(expected / math.log(2) * 598 / 1196, rel=1e-5)
    assert (found.kl_nats, found.top1_agreement) == (None, None)


def test_divergence_and_agreement_are_over_the_whole_vocabulary(heldout):
    assert heldout.tokens > 2 * PIECE_POSITIONS
    first, second = table(1), table(2, 0.5)
    reference = list(logits_of(Fixed(first), heldout))
    found = measure(logits_of(Fixed(second), heldout), heldout, reference)
    ours, theirs = first[1:-1].bfloat16().double(), second[1:-1].bfloat16().double()
    expected = torch.nn.functional.kl_div(
        theirs.log_softmax(-1), ours.log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert found.kl_nats == pytest.approx(expected.item(), rel=1e-5)
    assert found.top1_agreement == pytest.approx((ours.argmax(-1) == theirs.argmax(-1)).double().mean().item())


def test_without_divergence_the_rest_is_the_same(heldout):
    reference = list(logits_of(Fixed(table(1)), heldout))
    answers = list(logits_of(Fixed(table(2)), heldout))
    full, quick = measure(answers, heldout, reference), measure(answers, heldout, reference, divergence=False)
    assert quick == replace(full, kl_nats=None)


def test_a_model_agrees_with_itself(heldout):
    model = Fixed(table(3))
    found = measure(logits_of(model, heldout), heldout, list(logits_of(model, heldout)))
    assert (found.kl_nats, found.top1_agreement) == (pytest.approx(0, abs=1e-9), 1.0)


def test_a_loss_that_is_not_a_number_stops(heldout):
    with pytest.raises(DataContractError, match="not a number"):
        measure(logits_of(Fixed(torch.full((600, VOCABULARY), math.nan)), heldout), heldout)


def test_an_infinite_divergence_stops_though_the_loss_is_finite(heldout):
    wrong = table(2)
    wrong[1, (heldout.rows[0].input_ids[2] + 1) % VOCABULARY] = -math.inf
    assert math.isfinite(measure(logits_of(Fixed(wrong), heldout), heldout).loss_nats)
    with pytest.raises(DataContractError, match="not a number"):
        measure(logits_of(Fixed(wrong), heldout), heldout, list(logits_of(Fixed(table(1)), heldout)))


def test_answers_alone_count_and_long_rows_are_left_out(tmp_path, tokenizer, quantize_params):
    long = chat(8)
    long["messages"][0]["content"] *= 200
    write_jsonl(tmp_path / "validation.jsonl", [chat(1), long, chat(2, "en"), chat(3), chat(4)])
    found = read_heldout(tmp_path / "validation.jsonl", tokenizer, quantize_params)
    assert [row.row_id for row in found.rows] == ["r-1", "r-2", "r-3"]
    answers = [chat(n, language)["messages"][1]["content"] for n, language in ((1, "zh"), (2, "en"), (3, "zh"))]
    assert found.bytes == sum(len(answer.encode()) for answer in answers)
    assert found.tokens == sum(len(tokenizer.encode(answer, add_special_tokens=False)) + 1 for answer in answers)


def test_no_validation_rows_names_the_setting(tmp_path, quantize_params):
    write_jsonl(tmp_path / "validation.jsonl", [])
    with pytest.raises(DataContractError, match="has no rows") as caught:
        read_heldout(tmp_path / "validation.jsonl", None, quantize_params)
    assert "prepare.validation_fraction" in caught.value.hint


def test_figures_are_reported_with_six_digits():
    assert Measured(1 / 3, 1.0, 2.0, None, None).as_dict() == {
        "loss_nats": 0.333333, "bits_per_byte": 1.0, "perplexity": 2.0, "kl_nats": None, "top1_agreement": None,
    }  # fmt: skip
