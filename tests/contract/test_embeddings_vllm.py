"""The embedding model with the real vLLM; apart from the others, whose project has a stand-in in vLLM's place."""

import httpx
import openai
import pytest

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.models.base import materialize
from tasks.serving import control
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path
from tests.contract.conftest import ROOT, real_vllm, unused_ports
from tests.contract.embeddings import configure, up
from tests.contract.hosts import until

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_a_real_pooling_vllm_without_any_champion(tmp_path):
    """The base model the chain starts from, as a pooling model: texts that mean the same are nearer."""
    base = materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path
    with real_vllm(tmp_path) as project, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEGATE_EMBEDDING_PORT", str(unused_ports(1)[0]))
        configure(project.root, base)
        control.ensure_host(project)
        key = KeyStore(keys_path(project)).create("openai", "caller")
        with openai.OpenAI(base_url=f"{project.gateway_url}/v1", api_key=key, max_retries=0) as client:
            until(lambda: up(project), 120)
            texts = ["Close all doors and windows.", "Shut every door and window.", "7 + 5 = 12"]
            rows = client.embeddings.create(model="bge", input=texts, encoding_format="float").data
            one, same, other = (row.embedding for row in rows)
            again = client.embeddings.create(model="bge", input=texts[0]).data[0].embedding
            assert max(abs(a - b) for a, b in zip(one, again, strict=True)) < 0.02
            near, far = (sum(a * b for a, b in zip(one, it, strict=True)) for it in (same, other))
            assert near > far
            with pytest.raises(openai.BadRequestError) as caught:
                client.embeddings.create(model="bge", input="核 " * 600)
            assert caught.value.code == "context_length_exceeded"
            with pytest.raises(openai.BadRequestError, match="dimensions"):
                client.embeddings.create(model="bge", input="x", dimensions=8)
        assert httpx.get(f"{project.gateway_url}/readyz").status_code == 503
