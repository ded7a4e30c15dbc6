"""bitsandbytes 0.50.2 repacks 4-bit CPU weights at the first eval pass; gradients are silently wrong afterwards."""

import pytest
import torch

from tasks.training import model as model_module
from tasks.training.model import keep_4bit_layout, load_trainable


def gradients(model):
    model.train()
    model.zero_grad()
    torch.manual_seed(1)
    ids = torch.randint(10, 4000, (2, 24))
    model(input_ids=ids, labels=ids).loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # The fault cuts some parameters off altogether: no gradient is a zero one.
    return {name: torch.zeros(p.numel()) if p.grad is None else p.grad.flatten().clone() for name, p in trained.items()}


def worst_cosine(model):
    """Smallest cosine between the gradients before and after one pass in eval mode."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)  # zero B would leave A without a gradient
    before = gradients(model)
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.randint(10, 4000, (1, 8)))
    after = gradients(model)
    assert len(before) == len(after) > 0
    return min(torch.cosine_similarity(before[name], after[name], dim=0).item() for name in before)


def test_gradients_survive_an_eval_pass(tiny, train_params):
    assert worst_cosine(load_trainable(tiny, train_params(mode="qlora"))) > 0.999


@pytest.mark.filterwarnings("ignore:bitsandbytes.*autograd kernel was not registered")  # torch sees the fault too
def test_without_the_guard_they_do_not(tiny, train_params, monkeypatch):
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512_BF16: bitsandbytes repacks nothing here")
    monkeypatch.setattr(model_module, "keep_4bit_layout", lambda model: 0)
    assert worst_cosine(load_trainable(tiny, train_params(mode="qlora"))) < 0.9


def test_every_4bit_layer_is_guarded(tiny, train_params):
    from bitsandbytes.nn import Linear4bit

    model = load_trainable(tiny, train_params(mode="qlora"))
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14  # two layers of seven linear modules
    assert keep_4bit_layout(model) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.mark.parametrize(("setting", "dtype"), [("16-bit", torch.bfloat16), ("float32", torch.float32)])
def test_nf4_double_quantization_and_the_type_of_the_processor(tiny, train_params, monkeypatch, setting, dtype):
    from bitsandbytes.nn import Linear4bit

    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", setting)

    model = load_trainable(tiny, train_params(mode="qlora"))
    layer = next(module for module in model.modules() if isinstance(module, Linear4bit))
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    assert layer.compute_dtype == dtype
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
