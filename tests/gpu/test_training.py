"""QLoRA on a card: which card, NF4 forward and backward, steps that learn, a stop and going on, the merge."""

import csv

import pytest
import torch

from tasks.core.files import read_json
from tasks.core.training_record import TrainingRun
from tasks.training.model import load_base, load_trainable
from tests.unit.training.conftest import make_params

# Warnings of CUDA builds are nobody's fault here.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


class Stopped(Exception):
    """Stands for a kill between two steps."""


def token_ids(rows=2, length=24):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(10, 4000, (rows, length), generator=generator).cuda()


def gradients(model):
    """Return the adapter's gradients, in one long vector."""
    model.train()
    model.zero_grad()
    ids = token_ids()
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.requires_grad])


def adapted(base, mode):
    """Return a model with an adapter that changes something: with B zero, A has no gradient."""
    model = load_trainable(base, make_params(mode=mode))
    model = model if mode == "qlora" else model.cuda()  # 4-bit weights are made on the card
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def test_torch_sees_the_chosen_card_and_no_other(card):
    assert torch.cuda.is_available(), "the pipeline's torch is a build without CUDA: make setup"
    assert torch.cuda.device_count() == 1
    # By name: two cards of one kind are told apart by their UUID.
    assert str(torch.cuda.get_device_properties(0).uuid) in card.uuid


def test_nf4_layers_are_on_the_card_and_answer_nearly_as_bf16(tiny):
    from bitsandbytes.nn import Linear4bit

    model = load_base(tiny, "qlora")
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14
    assert {layer.weight.device.type for layer in layers} == {"cuda"}
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"nf4"}
    with torch.no_grad():
        rounded, exact = (found(input_ids=token_ids()).logits for found in (model, load_base(tiny, "lora").cuda()))
    assert torch.cosine_similarity(rounded.float().flatten(), exact.float().flatten(), dim=0) > 0.9
    assert not torch.equal(rounded, exact)


def test_gradients_through_nf4_point_where_those_of_bf16_do(tiny):
    rounded, exact = gradients(adapted(tiny, "qlora")), gradients(adapted(tiny, "lora"))
    assert torch.isfinite(rounded).all()
    assert torch.cosine_similarity(rounded, exact, dim=0) > 0.8


def test_gradients_are_the_same_after_an_eval_pass(tiny):
    model = adapted(tiny, "qlora")
    before = gradients(model)
    model.eval()
    with torch.no_grad():
        model(input_ids=token_ids(1, 8))
    assert torch.cosine_similarity(before, gradients(model), dim=0) > 0.999


def test_training_learns(chain):
    facts = read_json(chain.adapter / "training.json")
    curve = [float(row["loss"]) for row in csv.DictReader((chain.adapter / "loss.csv").read_text("utf-8").splitlines())]
    assert facts["steps"] == len(curve) == 8
    assert curve[-1] < curve[0] * 0.95


def test_a_stopped_training_goes_on_to_nearly_the_same_loss(chain, tiny, run_train, monkeypatch):
    # On a card sums come in any order: the bytes differ, the loss hardly does.
    log_step = TrainingRun.log_step

    def stop_at_five(self, number, metrics):
        if number == 5:
            raise Stopped
        log_step(self, number, metrics)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "log_step", stop_at_five)
        with pytest.raises(Stopped):
            run_train("stopped", tiny, scratch="resumed")
    resumed = read_json(run_train("resumed", tiny, scratch="resumed") / "training.json")
    whole = read_json(chain.adapter / "training.json")
    assert resumed["steps"] == whole["steps"]
    assert resumed["final_loss"] == pytest.approx(whole["final_loss"], rel=0.05)


def test_the_merge_of_what_was_trained_on_the_card_answers_as_base_with_adapter(chain, tiny):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(40, 60).unsqueeze(0)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        with_adapter = PeftModel.from_pretrained(base, chain.adapter, torch_device="cpu")(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(chain.merged, dtype=torch.float32)(input_ids=ids).logits
    assert (merged - with_adapter).norm() < 0.1 * (plain - with_adapter).norm()
