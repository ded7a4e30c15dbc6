"""One version behind the gateway, served by vLLM and then by llama.cpp from an exported file. About half a minute."""

import openai
import pytest

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import DataContractError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.deployment import Deployment
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, Fingerprint, fingerprint
from tasks.engine.llamacpp.server import LlamaCppServer
from tasks.engine.server import VllmServer
from tasks.export.gguf_file import write_gguf
from tasks.export.kernels import Kernels
from tasks.models.base import materialize
from tasks.serving import control
from tests.contract.hosts import until
from tests.llamacpp import ROOT, llamacpp_python
from tests.proofs import proven
from tests.small_models import write_small_llama

pytestmark = [pytest.mark.slow, pytest.mark.alone]

#: Found before a project of the tests names a stand-in for it.
SERVE_PYTHON = Project(ROOT).serve_python
NAME = "tg-both-engines"
QUESTIONS = ("碘片什么时候服用？", "What is the capital of France? Answer in one sentence.")


@pytest.fixture(scope="module")
def base():
    return materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path


@pytest.fixture
def addresses(free_ports, monkeypatch):
    """Where vLLM and llama.cpp will serve, as whoever runs the gateway names them."""
    vllm, llama = free_ports(2)
    monkeypatch.setenv("TUNEGATE_UPSTREAMS", f"http://127.0.0.1:{vllm}|llamacpp+http://127.0.0.1:{llama}")
    return vllm, llama


def evidence(server: VllmServer, base) -> Fingerprint:
    """What an evaluation of these weights would have kept, at the served hop and at the merged one."""
    client = ServedClient(server.url, NAME, model_digest="0", concurrency=4, cache=AnswerCache(None))
    answers = fingerprint(client, load_tokenizer(base))
    return Fingerprint(FINGERPRINT_PROMPTS, {"awq": answers, "merged": answers})


def ask(project, key: str, question: str):
    with openai.OpenAI(base_url=f"{project.project.gateway_url}/v1", api_key=key, max_retries=0) as client:
        asked = {"model": "champion", "messages": [{"role": "user", "content": question}], "temperature": 0}
        answer = client.chat.completions.with_raw_response.create(**asked, max_tokens=24)
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        pieces = list(client.chat.completions.create(**asked, **streamed, max_tokens=24))
    whole = answer.parse()
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    return answer.headers["x-tunegate-version"], text


def test_the_same_version_is_served_by_both(project, addresses, base, tmp_path):
    vllm_port, llama_port = addresses
    write_gguf(base, tmp_path / "model.gguf", "q8_0", {}, Kernels(llamacpp_python()))
    params = load_settings(ROOT / "params.yaml").serve.vllm
    with VllmServer(SERVE_PYTHON) as vllm, LlamaCppServer(llamacpp_python()) as llama:
        vllm.start(base, vllm_port, params, NAME, tmp_path / "vllm.log")
        vllm.wait_ready()
        version = proven(project.project, Deployment("1", NAME, base, evidence(vllm, base)))
        control.ensure_host(project.project)
        control.deploy(project.project, version)
        key = project.key("ward")
        by_vllm = [ask(project, key, question) for question in QUESTIONS]
        assert control.host_status(project.project)["upstream"] == vllm.url
        llama.start(tmp_path / "model.gguf", llama_port, NAME, tmp_path / "llama.log", context_tokens=4096)
        llama.wait_ready()
        # vLLM goes: the version is found at the other address, held to its fingerprint, and served on.
        vllm.stop()
        until(lambda: control.host_status(project.project)["upstream"] == llama.url, timeout_s=30)
        until(lambda: control.host_status(project.project)["healthy"], timeout_s=30)
        by_llama = [ask(project, key, question) for question in QUESTIONS]
    assert {number for number, _ in by_vllm + by_llama} == {"1"}
    assert "Paris" in by_vllm[1][1]
    assert "Paris" in by_llama[1][1]


def test_other_weights_in_llama_cpp_are_refused(project, addresses, base, tmp_path):
    """The floor of a file with fewer bits is lower, and still tells another model under the version's name."""
    write_small_llama(tmp_path / "other", base)
    write_gguf(tmp_path / "other", tmp_path / "other.gguf", "q8_0", {}, Kernels(llamacpp_python()))
    answers = [[7] * 16] * len(FINGERPRINT_PROMPTS)
    version = Deployment("1", NAME, base, Fingerprint(FINGERPRINT_PROMPTS, {"awq": answers, "merged": answers}))
    with LlamaCppServer(llamacpp_python()) as llama:
        llama.start(tmp_path / "other.gguf", addresses[1], NAME, tmp_path / "llama.log", context_tokens=4096)
        llama.wait_ready()
        control.ensure_host(project.project)
        with pytest.raises(DataContractError, match=r"0% of its answers' tokens .* another llamacpp"):
            control.deploy(project.project, proven(project.project, version))
