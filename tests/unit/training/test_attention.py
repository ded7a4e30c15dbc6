"""Attention by products is attention: the same loss and gradients as torch's own, padding and shared keys included."""

import pytest
import torch

from tasks.training.attention import LONGEST_TOKENS, NAME, AttentionProducts, attention_for
from tasks.training.model import load_base, load_trainable


def mask_of(tokens, padded):
    """A causal mask for two rows, the second with padding at its end."""
    least = torch.finfo(torch.float32).min
    mask = torch.full((2, 1, tokens, tokens), least).triu(1)
    mask[1, :, :, tokens - padded :] = least
    return mask


@pytest.mark.parametrize("key_heads", [1, 2, 6])
def test_value_and_gradients_are_torch_s_own(key_heads):
    torch.manual_seed(0)
    shape, shared = (2, 6, 11, 8), (2, key_heads, 11, 8)
    mask, wanted = mask_of(11, padded=3), torch.randn(shape)
    given = [torch.randn(one, requires_grad=True) for one in (shape, shared, shared)]
    plain = [one.detach().clone().requires_grad_() for one in given]
    out = AttentionProducts.apply(*given, mask, 0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(*plain, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    (out * wanted).sum().backward()
    (expected * wanted).sum().backward()
    for ours, theirs in zip(given, plain, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


def test_under_autocast_what_comes_in_two_types_is_computed_in_one():
    """Weights in fp32: rotary positions leave q and k in fp32, v comes in bf16."""
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, 3, 7, 8, dtype=dtype, requires_grad=True)
        for dtype in (torch.float32, torch.float32, torch.bfloat16)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = AttentionProducts.apply(q, k, v, mask_of(7, padded=2), 0.3)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_of(7, padded=2), scale=0.3)
    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, atol=0.02, rtol=0.02)
    out.sum().backward()
    assert [one.grad.dtype for one in (q, k, v)] == [torch.float32, torch.float32, torch.bfloat16]


def test_gradients_by_differences():
    torch.manual_seed(0)
    given = [torch.randn(2, heads, 5, 4, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    mask = mask_of(5, padded=1)

    def exact(q, k, v):  # in fp64: what is kept in fp32 would hide a small fault
        return AttentionProducts.apply(q, k, v, mask, 0.5)

    assert torch.autograd.gradcheck(exact, given, atol=1e-4, rtol=1e-3, eps=1e-3)


def test_a_model_of_short_rows_trains_with_it_to_the_same_loss_and_gradients(tiny, train_params):
    ids = torch.randint(10, 4000, (2, 24))
    attended = torch.ones_like(ids)
    attended[1, 20:] = 0
    found = {}
    for attention in ("sdpa", attention_for(LONGEST_TOKENS)):
        model = load_base(tiny, "full", attention=attention)
        loss = model(input_ids=ids, attention_mask=attended, labels=ids.masked_fill(attended == 0, -100)).loss
        loss.backward()
        found[attention] = loss.item(), [parameter.grad for parameter in model.parameters()]
    (loss, gradients), (our_loss, ours) = found["sdpa"], found[NAME]
    assert our_loss == pytest.approx(loss, rel=1e-4)
    for one, other in zip(gradients, ours, strict=True):
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_long_rows_keep_torch_s_own(tiny, train_params):
    assert attention_for(LONGEST_TOKENS + 1) == "sdpa"
    short = load_trainable(tiny, train_params(max_length_tokens=LONGEST_TOKENS))
    assert short.config._attn_implementation == NAME
