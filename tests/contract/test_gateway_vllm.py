"""The whole serving plane with the real vLLM and the unmodified openai client. Two model starts: about a minute."""

import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.abilities import abilities_of
from tasks.engine.deployment import Deployment
from tasks.models.base import materialize
from tasks.serving import control
from tasks.serving.audit import verify
from tasks.serving.keys import KeyStore
from tasks.serving.paths import audit_folder, keys_path
from tests.contract.conftest import real_vllm
from tests.proofs import proven

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
TUNEGATE = Path(sys.executable).with_name("tunegate")


@pytest.fixture(scope="module")
def base():
    here = Project(ROOT)
    return materialize(load_settings(ROOT / "params.yaml").base_model, here).path


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with real_vllm(tmp_path_factory.mktemp("vllm")) as found:
        yield found


@pytest.fixture(scope="module")
def live(project, base):
    control.ensure_host(project)
    control.deploy(project, proven(project, Deployment("1", "tg-real", base, abilities=abilities_of(base))))
    return project


@pytest.fixture(scope="module")
def client(live):
    key = KeyStore(keys_path(live)).create("openai", "caller")
    with openai.OpenAI(base_url=f"{live.gateway_url}/v1", api_key=key, max_retries=0) as found:
        yield found


def test_chat(client):
    answer = client.chat.completions.create(model="champion", messages=QUESTION, temperature=0, max_tokens=40)
    assert "Paris" in answer.choices[0].message.content
    assert answer.model == "tg-real"


def test_stream_is_the_same_answer_in_pieces(client):
    asked = {"model": "champion", "messages": QUESTION, "temperature": 0, "max_tokens": 40}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert len(chunks) > 3


def test_tools_are_refused_by_name_where_the_template_never_shows_them(client):
    tool = {"type": "function", "function": {"name": "dose"}}
    with pytest.raises(openai.BadRequestError, match="does not tell it about tools") as caught:
        client.chat.completions.create(model="champion", messages=QUESTION, tools=[tool])
    assert caught.value.param == "tools"


def test_an_answer_in_a_form(client):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    asked = {"model": "champion", "messages": QUESTION, "temperature": 0, "max_tokens": 100, "response_format": form}
    assert "Paris" in json.loads(client.chat.completions.create(**asked).choices[0].message.content)["city"]


def test_completion_and_models(client):
    answer = client.completions.create(model="tg-real", prompt="The capital of France is", max_tokens=5, temperature=0)
    assert "Paris" in answer.choices[0].text
    assert "tg-real" in [model.id for model in client.models.list()]


@pytest.fixture(scope="module")
def nearly_full():
    """A question that leaves a few dozen tokens of the context's 1,024."""
    return [{"role": "user", "content": "radiation " * 940}]


def test_no_length_named_gives_what_the_prompt_leaves(client, nearly_full):
    params = load_settings(ROOT / "params.yaml").serve
    cap, context = params.gateway.max_completion_tokens, params.vllm.max_model_length_tokens
    assert client.chat.completions.create(model="champion", messages=QUESTION).usage.completion_tokens <= cap
    usage = client.chat.completions.create(model="champion", messages=nearly_full).usage
    assert usage.prompt_tokens > 900 > context - cap
    assert usage.total_tokens <= context
    text = nearly_full[0]["content"]
    assert client.completions.create(model="champion", prompt=text).usage.total_tokens <= context
    assert client.responses.create(model="champion", input=text).usage.total_tokens <= context


def test_a_named_length_that_does_not_fit_beside_the_prompt_is_a_400(client, nearly_full):
    text = nearly_full[0]["content"]
    for ask, given in (
        (client.chat.completions.create, {"messages": nearly_full, "max_tokens": 500}),
        (client.completions.create, {"prompt": text, "max_tokens": 500}),
        (client.responses.create, {"input": text, "max_output_tokens": 500}),
    ):
        with pytest.raises(openai.BadRequestError, match="for no length") as caught:
            ask(model="champion", **given)
        assert caught.value.code == "context_length_exceeded"
    fits = {"messages": nearly_full, "max_tokens": 5}
    assert client.chat.completions.create(model="champion", **fits).usage.completion_tokens <= 5


def test_a_prompt_longer_than_the_context_is_a_400(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="champion", messages=[{"role": "user", "content": "核 " * 3000}])
    assert caught.value.code == "context_length_exceeded"


def test_answers_carry_version_and_lineage_and_are_audited(client, live):
    raw = client.chat.completions.with_raw_response.create(model="champion", messages=QUESTION, max_tokens=8)
    assert raw.headers["x-tunegate-version"] == "1"
    assert raw.headers["x-tunegate-lineage"] == "tg-real"
    found = verify(audit_folder(live))
    assert found["problems"] == []
    assert found["records"] >= 2


def test_top_of_a_real_model_at_work(client, live):
    """Rates and times made of a real vLLM's answers and streams."""
    command = [TUNEGATE, "top", "--once", "--json", "--every", "6"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        asked = {"model": "champion", "messages": QUESTION, "max_tokens": 8, "temperature": 0}
        assert len(list(client.chat.completions.create(**asked, stream=True))) > 1
    found = json.loads(process.communicate(timeout=30)[0])
    assert process.returncode == 0
    assert (found["status"]["version"], found["status"]["healthy"]) == ("1", True)
    assert found["requests_per_s"]["ok"] > 0
    assert found["tokens_per_s"]["completion"] > 0
    assert found["keys"]["openai"] > 0
    assert found["first_token_p95_s"] > 0


def test_a_swap_to_the_other_slot_with_a_stream_under_way(client, live, base):
    asked = {"model": "champion", "messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 512}
    stream = client.chat.completions.create(**asked, stream=True)
    next(stream)
    control.deploy(live, proven(live, Deployment("2", "tg-next", base, abilities=abilities_of(base))))
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("stop", "length")
    status = control.host_status(live)
    assert (status["slot"], status["version"], status["healthy"]) == ("green", "2", True)
    assert client.chat.completions.create(model="champion", messages=QUESTION, max_tokens=4).model == "tg-next"


def test_stop_leaves_no_server(live, client):
    done = subprocess.run([TUNEGATE, "stop"], capture_output=True, text=True, check=False)
    assert done.stdout == "stopped\n"
    assert control.host_status(live) is None
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
