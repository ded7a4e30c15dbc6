"""The CUDA build of vLLM, where .venv-serve holds one: merged and 4-bit weights are loaded and scored as they are."""

import json
import socket
import time
import urllib.request

import pytest
import torch

from tasks.core.errors import MissingToolError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.server import VllmServer, serving_uses_cuda
from tasks.engine.sleeping import FLAG, VARIABLES, SleepingServer
from tasks.quantization.written import read_back
from tests.gpu.conftest import ROOT

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

PROMPT = list(range(40, 80))


@pytest.fixture(scope="module")
def serve_python():
    python = Project(ROOT).serve_python
    try:
        cuda = serving_uses_cuda(python)
    except MissingToolError as error:
        pytest.skip(f"no serving environment: {error.message}")
    if not cuda:
        pytest.skip("the serving environment holds vLLM's CPU build")
    return python


@pytest.fixture(scope="module")
def params():
    """The flags of production with a small share of the card: the tiny model's cache needs no more."""
    vllm = load_settings(ROOT / "params.yaml").serve.vllm
    return vllm.model_copy(update={"gpu_memory_utilization": 0.3, "max_model_length_tokens": 256,
                                   "enforce_eager": True, "startup_timeout_s": 150.0})  # fmt: skip


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def served_logprobs(url, name):
    """Return the log-probability of each prompt token but the first."""
    body = {"model": name, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        positions = json.load(answer)["choices"][0]["prompt_logprobs"][1:]
    return torch.tensor([row[str(token)]["logprob"] for token, row in zip(PROMPT[1:], positions, strict=True)])


def own_logprobs(model):
    """Return the same, computed by transformers."""
    ids = torch.tensor([PROMPT], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=-1)
    return logits.gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1).cpu()


@pytest.mark.parametrize("hop", ["merged", "awq"])
def test_vllm_scores_the_tokens_as_transformers_does(chain, serve_python, params, tmp_path, hop):
    from transformers import AutoModelForCausalLM

    folder = getattr(chain, hop)
    torch.cuda.empty_cache()
    with VllmServer(serve_python) as server:
        server.start(folder, free_port(), params, f"tg-{hop}", tmp_path / "vllm.log")
        server.wait_ready()
        served = served_logprobs(server.url, f"tg-{hop}")
    model = read_back(folder) if hop == "awq" else AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert (served - own_logprobs(model)).abs().mean() < 0.1


def test_a_version_sleeps_gives_its_memory_back_and_answers_the_same_when_woken(chain, serve_python, params, tmp_path):
    """`serve.swap: sleep`: seconds, not a load; what it answered before it answers after."""
    torch.cuda.empty_cache()
    can_sleep = {"flags": [FLAG], "variables": VARIABLES}
    with SleepingServer(serve_python) as server:
        server.start(chain.merged, free_port(), params, "tg-merged", tmp_path / "vllm.log", **can_sleep)
        loaded_s = server.wait_ready()
        before, free_awake = served_logprobs(server.url, "tg-merged"), torch.cuda.mem_get_info()[0]
        server.sleep()
        assert torch.cuda.mem_get_info()[0] - free_awake > 0.2 * torch.cuda.mem_get_info()[1]
        with VllmServer(serve_python) as other:
            # In its place, on the same card, while it sleeps.
            other.start(chain.awq, free_port(), params, "tg-awq", tmp_path / "other.log", **can_sleep)
            other.wait_ready()
            assert served_logprobs(other.url, "tg-awq").isfinite().all()
        begun = time.monotonic()
        server.wake()
        after = served_logprobs(server.url, "tg-merged")
        assert time.monotonic() - begun < loaded_s / 2
    assert (before - after).abs().max() < 0.05
