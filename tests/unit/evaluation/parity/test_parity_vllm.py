"""Token parity against the real vLLM: every shape a template with tools can render, and a server with another one."""

import shutil
import socket
from pathlib import Path

import pytest

from tasks.chat.shapes import SHAPES, Conversation
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.queries import LOOPED, answer_query
from tasks.engine.server import VllmServer
from tasks.evaluation.parity.check import check_parity

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("vllm_imported")]

ROOT = Path(__file__).parents[4]
OWN = [Conversation("r-1", "single", [{"role": "user", "content": "1+1=?"}, {"role": "assistant", "content": "2"}])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The laptop base, and the same weights with the template of Qwen2.5, which writes tools."""
    import trl

    from tasks.models.base import materialize

    settings = load_settings(ROOT / "params.yaml")
    if settings.base_model.source != "packaged":
        pytest.skip("the active profile is not the laptop one")
    base = materialize(settings.base_model, Project(ROOT)).path
    other = tmp_path_factory.mktemp("models") / "with-tools"
    shutil.copytree(base, other)
    template = Path(trl.__file__).parent / "chat_templates/qwen2_5.jinja"
    (other / "chat_template.jinja").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    return base, other


@pytest.fixture(scope="module")
def server(folders, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vllm = load_settings(ROOT / "params.yaml").serve.vllm
    with VllmServer(Project(ROOT).serve_python) as started:
        started.start(folders[1], port, vllm, "m", tmp_path_factory.mktemp("logs") / "vllm.log")
        started.wait_ready()
        yield started


def check(server, folder):
    tokenizer = load_tokenizer(folder)
    client = ServedClient(server.url, "m", model_digest=folder.name, concurrency=8, cache=AnswerCache(None))
    return check_parity(OWN, model=folder, base=folder, tokenizer=tokenizer, base_tokenizer=tokenizer, client=client)


def test_every_shape_is_the_same_in_training_evaluation_and_vllm(server, folders):
    found = check(server, folders[1])
    assert [item["words"] for item in found["mismatches"]] == []
    assert set(found["unsupported"]) == {"thinking_on", "thinking_off"}
    assert set(found["shapes"]) == set(SHAPES) - set(found["unsupported"])
    assert found["stop"]["asked"] == 1


def test_a_server_with_another_template_than_training_is_found(server, folders):
    found = check(server, folders[0])["mismatches"]
    assert {tuple(item["between"]) for item in found} == {("training", "served")}
    # The templates differ in the system prompt they add.
    first = next(item for item in found if item["row_id"] == "r-1")
    assert "'You are a helpful AI assistant" not in first["words"]
    assert first["position"] > 0
    assert "became" in first["words"]


def test_a_written_answer_ends_where_it_loops_and_says_so(server, folders):
    tokenizer = load_tokenizer(folders[1])
    client = ServedClient(server.url, "m", model_digest="loops", concurrency=8, cache=AnswerCache(None))
    loop = tokenizer.encode("注意安全，保持通风。" * 8, add_special_tokens=False)
    asked = [answer_query(loop, 400, "a loop"), answer_query(loop, 30, "too short for one")]
    looped, cut = client.ask(asked, "loops")
    assert looped["finish_reason"] == LOOPED
    assert len(tokenizer.encode(looped["text"], add_special_tokens=False)) < 400
    assert cut["finish_reason"] == "length"
