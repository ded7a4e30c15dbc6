"""The embedding model beside the chat model: its route, its limits, its records, and that it can fail alone."""

import os
import signal
from pathlib import Path

import httpx
import openai
import pytest

from tasks.serving import control
from tests.contract.embeddings import configure, up
from tests.contract.hosts import BODY, CHAT, audit_records, server_pids, until

pytestmark = pytest.mark.slow

ROUTE = "/v1/embeddings"


@pytest.fixture(scope="module")
def embedded(served_project, tmp_path_factory):
    with served_project(tmp_path_factory.mktemp("embedded") / "project") as found:
        configure(found.root, found.model("bge"))
        control.ensure_host(found.project)
        found.deploy("1")
        until(lambda: up(found.project))
        yield found


@pytest.fixture(scope="module")
def key(embedded):
    return embedded.key("caller")


@pytest.fixture
def client(embedded, key):
    with openai.OpenAI(base_url=f"{embedded.project.gateway_url}/v1", api_key=key, max_retries=0) as found:
        yield found


def test_vectors_of_one_text_and_of_several_in_both_encodings(client):
    # The client asks for base64 by itself and decodes it.
    (one,) = client.embeddings.create(model="bge", input="碘片").data
    assert list(one.embedding) == [2.0, 1.0]
    two = client.embeddings.create(model="bge", input=["a", "bcd"], encoding_format="float", dimensions=1, user="w7")
    assert [row.embedding for row in two.data] == [[1.0], [3.0]]
    assert two.usage.total_tokens == 4


def test_it_has_a_name_of_its_own_and_chats_have_another(client):
    names = [model.id for model in client.models.list()]
    assert {"champion", "bge"} <= set(names)
    assert client.models.retrieve("bge").id == "bge"
    (weights,) = [name for name in names if name.startswith("emb-")]
    assert client.embeddings.create(model=weights, input="x").data
    with pytest.raises(openai.NotFoundError, match="served: bge"):
        client.embeddings.create(model="champion", input="x")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="bge", messages=BODY["messages"])


@pytest.mark.parametrize(("fields", "param"), [
    ({"input": ["x"] * 5}, "input"), ({"input": []}, "input"), ({"input": [""]}, "input"),
    ({"input": [[1, 2]]}, "input[0]"), ({"input": [1, 2]}, "input[0]"), ({"input": None}, "input"),
    ({"encoding_format": "bits"}, "encoding_format"), ({"dimensions": 0}, "dimensions"),
    ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"), ({"messages": [{"role": "user"}]}, "messages"),
    ({"unheard_of": 1}, "unheard_of"),
])  # fmt: skip
def test_400_for_what_is_over_a_bound_or_not_offered(embedded, key, fields, param):
    with embedded.client(key) as caller:
        refused = caller.post(ROUTE, json={"model": "bge", "input": "x"} | fields)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_text_that_is_too_long_is_refused_in_the_api_s_shape(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="bge", input="I leave no room")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


def test_it_is_recorded_masked_without_vectors_and_charged(embedded):
    with embedded.client(embedded.key("charged", tokens_per_minute=40)) as caller:
        sent = {"model": "bge", "input": "电话13912345678", "user": "ward 7"}
        answer = caller.post(ROUTE, json=sent)
        assert answer.headers["x-tunegate-version"] == "embedding"
        wanted = answer.headers["x-request-id"]
        assert caller.post(ROUTE, json=sent | {"input": "1" * 35}).status_code == 429
    until(lambda: sum(record.get("request_id") == wanted for record in audit_records(embedded)) == 2)
    asked, answered = [record for record in audit_records(embedded) if record.get("request_id") == wanted]
    assert "13912345678" not in str(asked)
    assert (asked["route"], asked["slot"], asked["user"]) == (ROUTE, "embedding", "ward 7")
    assert asked["lineage_id"].startswith("emb-")
    assert (answered["status"], answered["prompt_tokens"], answered["answer"]) == (200, 13, [])


def test_a_dead_one_touches_no_chat_and_comes_back(embedded, key):
    gateway = embedded.project.gateway_url
    (pid,) = [pid for pid in server_pids(embedded) if b"pooling" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(pid, signal.SIGKILL)
    with embedded.client(key) as caller:
        # Until it is seen to have ended, who asks loses the connection.
        until(lambda: "embedding_not_served" in caller.post(ROUTE, json={"model": "bge", "input": "x"}).text)
        assert httpx.get(f"{gateway}/readyz").status_code == 200
        assert caller.post(CHAT, json=BODY).status_code == 200
        until(lambda: caller.post(ROUTE, json={"model": "bge", "input": "x"}).status_code == 200, 20)
