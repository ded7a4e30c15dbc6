import pytest
import torch

from tasks.training.lora_linear import dense_weight, fuse_lora_layers
from tasks.training.model import load_trainable


def loss_and_gradients(model):
    model.train()
    model.zero_grad()
    torch.manual_seed(1)
    ids = torch.randint(10, 4000, (2, 24))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {name: p.grad.flatten().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("mode", ["qlora", "lora"])
def test_fused_layers_give_peft_s_loss_and_gradients(tiny, train_params, mode):
    model = load_trainable(tiny, train_params(mode=mode))
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    loss, gradients = loss_and_gradients(model)
    assert fuse_lora_layers(model, torch.bfloat16) == 6
    fused_loss, fused_gradients = loss_and_gradients(model)
    assert fused_loss == pytest.approx(loss, abs=5e-3)
    assert fused_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.cosine_similarity(gradient, fused_gradients[name], dim=0) > 0.995, name
        assert fused_gradients[name].norm().item() == pytest.approx(gradient.norm().item(), rel=0.05), name


def test_weights_are_the_same_numbers_with_plain_scales(tiny, train_params):
    model = load_trainable(tiny, train_params(mode="qlora"))
    layers = [layer.get_base_layer() for layer in model.modules() if hasattr(layer, "lora_A")]
    before = [dense_weight(layer, torch.float32) for layer in layers]
    assert all(layer.weight.quant_state.nested for layer in layers)
    fuse_lora_layers(model, torch.bfloat16)
    assert not any(layer.weight.quant_state.nested for layer in layers)
    assert all(torch.equal(dense_weight(layer, torch.float32), old) for layer, old in zip(layers, before, strict=True))


def test_layers_with_dropout_keep_peft_s_forward(tiny, train_params):
    lora = {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj"]}
    assert fuse_lora_layers(load_trainable(tiny, train_params(lora=lora)), torch.bfloat16) == 0


def test_a_disabled_adapter_is_the_base(tiny, train_params):
    model = load_trainable(tiny, train_params())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    ids = torch.tensor([[5, 6, 7]])
    with model.disable_adapter(), torch.no_grad():
        expected = model(input_ids=ids).logits
        fuse_lora_layers(model, torch.bfloat16)
        torch.testing.assert_close(model(input_ids=ids).logits, expected)
