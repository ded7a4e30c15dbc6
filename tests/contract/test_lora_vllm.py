"""A LoRA adapter in the real vLLM: applied, scored token by token, and the bare model beside it. One model start."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.server import BARE_SUFFIX, VllmServer
from tasks.models.base import materialize

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("vllm_imported")]

ROOT = Path(__file__).parents[2]
RANK = 8


@pytest.fixture(scope="module")
def base():
    return materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """Return an adapter that changes the queries of every layer at random."""
    folder, config = tmp_path_factory.mktemp("adapter"), read_json(base / "config.json")
    size, generator = config["hidden_size"], np.random.default_rng(0)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for part, shape in (("A", (RANK, size)), ("B", (size, RANK))):
            weights[f"{name}.lora_{part}.weight"] = generator.normal(0, 0.05, shape).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors")
    write_json(folder / "adapter_config.json", {
        "peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none",
        "task_type": "CAUSAL_LM", "base_model_name_or_path": "sha256:0", "rank_pattern": {}, "modules_to_save": None,
    })  # fmt: skip
    return folder


def prompt_logprobs(url, model, prompt):
    """Return the log-probability of each prompt token but the first."""
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        positions = json.load(answer)["choices"][0]["prompt_logprobs"][1:]
    return [entry[str(token)]["logprob"] for token, entry in zip(prompt[1:], positions, strict=True)]


def test_adapter_and_bare_model_are_scored_side_by_side(base, adapter, tmp_path, free_ports):
    params = load_settings(ROOT / "params.yaml").serve.vllm
    prompt = [504, 3575, 282, 4649, 314, 7042, 30]
    with VllmServer(Project(ROOT).serve_python) as server:
        server.start(base, free_ports(1)[0], params, "tg-lora", tmp_path / "log", adapter=adapter)
        server.wait_ready()
        with_adapter = prompt_logprobs(server.url, "tg-lora", prompt)
        bare = prompt_logprobs(server.url, f"tg-lora{BARE_SUFFIX}", prompt)
    # Where vLLM wraps lm_head too, the first of these requests ends it.
    assert all(value <= 0 for value in with_adapter + bare)
    assert np.abs(np.subtract(with_adapter, bare)).max() > 0.1
