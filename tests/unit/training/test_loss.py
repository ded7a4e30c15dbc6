import pytest
import torch

from tasks.chat.rows import IGNORED
from tasks.core.errors import ConfigError
from tasks.training import loss as loss_module
from tasks.training.loss import SummedCrossEntropy, score_completions
from tasks.training.model import load_base, load_trainable


def tiny_inputs(positions=11, hidden=16, vocabulary=50, with_bias=False):
    torch.manual_seed(3)
    states = torch.randn(positions, hidden, requires_grad=True)
    weight = torch.randn(vocabulary, hidden, requires_grad=True)
    bias = torch.randn(vocabulary, requires_grad=True) if with_bias else None
    return states, weight, bias, torch.randint(0, vocabulary, (positions,))


@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_all_gradients_are_those_of_plain_cross_entropy(monkeypatch, with_bias):
    monkeypatch.setattr(loss_module, "PIECE_POSITIONS", 4)
    states, weight, bias, targets = tiny_inputs(with_bias=with_bias)
    wanted = [tensor for tensor in (states, weight, bias) if tensor is not None]
    plain = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(states, weight, bias), targets, reduction="sum"
    )
    expected = torch.autograd.grad(plain * 0.25, wanted)
    ours = SummedCrossEntropy.apply(states, weight, bias, targets)
    torch.testing.assert_close(ours, plain)
    for found, right in zip(torch.autograd.grad(ours * 0.25, wanted), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_frozen_head_gets_no_gradient():
    states, weight, _, targets = tiny_inputs()
    weight.requires_grad_(False)
    SummedCrossEntropy.apply(states, weight, None, targets).backward()
    assert weight.grad is None
    assert states.grad is not None


def test_model_loss_is_transformers_own_on_labelled_tokens(tiny):
    model = load_base(tiny, "full")
    torch.manual_seed(5)
    ids = torch.randint(10, 4000, (3, 12))
    labels = ids.clone()
    labels[:, :5] = IGNORED
    labels[1, 9:] = IGNORED
    expected = model(input_ids=ids, labels=labels).loss
    score_completions(model)
    ours = model(input_ids=ids, labels=labels)["loss_sum"] / (labels[:, 1:] != IGNORED).sum()
    torch.testing.assert_close(ours, expected)


def test_without_labels_the_model_s_own_forward_runs(tiny):
    model = load_base(tiny, "lora")
    expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    score_completions(model)
    torch.testing.assert_close(model(input_ids=torch.tensor([[5, 6, 7]])).logits, expected)


def test_batch_without_a_labelled_token_is_a_zero_that_can_be_differentiated(tiny, train_params):
    model = load_trainable(tiny, train_params())
    score_completions(model.get_base_model())
    ids = torch.tensor([[5, 6, 7]])
    value = model(input_ids=ids, labels=torch.full_like(ids, IGNORED))["loss_sum"]
    value.backward()
    assert value.item() == 0.0


def test_model_that_changes_its_logits_is_refused(tiny_copy, train_params):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(tiny_copy)
    config.final_logit_softcapping = 30.0
    config.save_pretrained(tiny_copy)
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        load_trainable(tiny_copy, train_params())
