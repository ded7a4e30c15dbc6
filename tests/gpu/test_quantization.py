"""AWQ on a card: every layer in 4 bits, done on the card, near the merged model."""

import pytest
import torch

from tasks.core.files import read_json
from tasks.quantization.written import read_back, require_quantized
from tests.gpu.conftest import quantize_params

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


def test_every_layer_is_written_in_four_bits(chain):
    report = read_json(chain.awq / "quantization.json")
    names = [f"model.layers.{layer}.{part}" for layer in range(2) for part in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
        "mlp.down_proj")]  # fmt: skip
    require_quantized(chain.awq, set(names))
    assert report["layers"] == len(names)
    assert report["bytes_after"] < report["bytes_before"]


def test_the_card_did_the_work(chain):
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(chain.merged, dtype=torch.bfloat16)
    assert chain.quantize_peak > sum(weight.numel() * weight.element_size() for weight in merged.parameters())


def test_the_written_model_answers_nearly_as_the_merged_one(chain):
    from transformers import AutoModelForCausalLM

    report = read_json(chain.awq / "quantization.json")
    assert report["budget"]["finalists"] == quantize_params().finalists
    assert report["after"]["loss_nats"] == pytest.approx(report["before"]["loss_nats"], rel=0.1)
    ids = torch.arange(40, 60).unsqueeze(0)
    models = (AutoModelForCausalLM.from_pretrained(chain.merged, dtype=torch.bfloat16), read_back(chain.awq))
    with torch.no_grad():
        merged, written = (model(input_ids=ids.to(model.device)).logits.float().flatten().cpu() for model in models)
    assert torch.cosine_similarity(merged, written, dim=0) > 0.9
