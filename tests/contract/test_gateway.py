"""The gateway as callers see it, with a stand-in for the vLLM executable behind it."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import httpx
import openai
import pytest

from tasks.serving import control
from tasks.serving.audit import verify
from tasks.serving.audit.chain import whole_lines
from tasks.serving.audit.record import text_digest
from tasks.serving.audit.secret import audit_secret
from tasks.serving.paths import audit_folder
from tests.contract.hosts import until

CHAT = "/v1/chat/completions"
MODEL = "tunegate-nuclear-emergency"
CASES = Path(__file__).with_name("cases")


def chat(text: str = "碘片什么时候服用？", **more: object) -> dict:
    return {"model": "champion", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def key(live) -> str:
    return live.key("caller")


@pytest.fixture
def client(live, key):
    with live.client(key) as found:
        yield found


@pytest.fixture
def openai_client(live, key):
    with openai.OpenAI(base_url=f"{live.project.gateway_url}/v1", api_key=key, max_retries=0) as found:
        yield found


def error_of(response: httpx.Response) -> dict:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req-")
    return error


class TestOpenAiClientUnmodified:
    def test_chat(self, openai_client):
        answer = openai_client.chat.completions.create(**chat())
        assert answer.choices[0].message.content == "碘片 在 照射 前 服用"
        assert answer.model == "tg-1"

    def test_chat_with_text_parts(self, openai_client):
        parts = [{"type": "text", "text": "碘片？"}]
        answer = openai_client.chat.completions.create(model="champion", messages=[{"role": "user", "content": parts}])
        assert answer.choices[0].finish_reason == "stop"

    def test_stream(self, openai_client):
        chunks = list(openai_client.chat.completions.create(**chat(), stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "碘片 在 照射 前 服用 "

    def test_stream_with_usage(self, openai_client):
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(openai_client.chat.completions.create(**chat(), **asked))
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 5

    def test_completion(self, openai_client):
        assert openai_client.completions.create(model=MODEL, prompt="碘片").choices[0].text.startswith("碘片")

    def test_models(self, openai_client):
        assert [model.id for model in openai_client.models.list()] == [MODEL, "champion", "tg-1"]

    def test_wrong_key_is_its_authentication_error(self, live):
        stranger = openai.OpenAI(base_url=f"{live.project.gateway_url}/v1", api_key="tg_wrong", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()


def test_answers_say_what_answered(client):
    for body in (chat(), chat(stream=True)):
        response = client.post(CHAT, json=body)
        assert response.headers["x-tunegate-version"] == "1"
        assert response.headers["x-tunegate-lineage"] == "tg-1"
        assert response.headers["x-request-id"].startswith("req-")


@pytest.mark.parametrize("name", [MODEL, "champion", "tg-1"])
def test_every_name_of_the_champion_is_rewritten_to_what_the_slot_serves(client, name):
    answer = client.post(CHAT, json=chat("show the request") | {"model": name}).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["model"] == "tg-1"


def test_no_token_limit_asked_for_means_the_cap(client):
    sent = json.loads(client.post(CHAT, json=chat("show the request")).json()["choices"][0]["message"]["content"])
    assert sent["max_tokens"] == 64


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer tg_unknown"}],
)
def test_401_without_a_known_key(live, headers):
    with live.client(None) as stranger:
        response = stranger.post(CHAT, json=chat(), headers=headers)
        assert response.status_code == 401
        assert error_of(response)["type"] == "authentication_error"
        assert stranger.get("/v1/models", headers=headers).status_code == 401


def test_403_from_the_request_after_a_revocation_on(live):
    with live.client(live.key("leaver")) as leaver:
        assert leaver.post(CHAT, json=chat()).status_code == 200
        live.keys.revoke("leaver")
        response = leaver.post(CHAT, json=chat())
        assert response.status_code == 403
        assert error_of(response)["code"] == "revoked_key"


def test_metrics_for_this_machine_and_for_admins_alone(live, client):
    from_elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    with live.client(None) as stranger, live.client(live.key("watch", role="admin")) as admin:
        assert stranger.get("/metrics").status_code == 200
        assert stranger.get("/metrics", headers=from_elsewhere).status_code == 401
        assert client.get("/metrics", headers=from_elsewhere).status_code == 403
        text = admin.get("/metrics", headers=from_elsewhere).text
    assert 'tunegate_live{lineage_id="tg-1",slot="blue",version="1"} 1.0' in text
    assert "tunegate_audit_healthy 1.0" in text
    assert 'tunegate_requests_total{outcome="ok",route="/v1/chat/completions",status="200"}' in text


def test_liveness_and_readiness_need_no_key(live):
    with live.client(None) as stranger:
        until(lambda: stranger.get("/readyz").json()["loaded"])
        for route in ("/readyz", "/healthz"):
            response = stranger.get(route)
            assert response.status_code == 200
            assert response.json() == {"status": "ok", "served": True, "engine": True, "audit": True, "loaded": True}
        assert stranger.get("/livez").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/invocations",
        "/tokenize",
        "/pause",
        "/update_weights",
        "/docs",
        "/openapi.json",
        "/v1/responses/x",
        "/v1/responses/x/cancel",
        "/v1/embeddings",
        "/v1/models/gpt-4",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/chat/../../invocations",
        "/v1/load_lora_adapter",
        "/load",
        "/version",
        "/v1/chat/completions/batch",
        "/generative_scoring",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_404_for_every_other_route_of_vllm(client, method, path):
    response = client.request(method, httpx.URL(client.base_url, raw_path=path.encode()), content=b"{}")
    assert response.status_code == 404
    assert error_of(response)["type"] == "not_found_error"


def test_404_for_the_wrong_method(client):
    assert client.get(CHAT).status_code == 404
    assert client.delete("/v1/models").status_code == 404


def test_404_for_a_model_not_served(client):
    response = client.post(CHAT, json=chat() | {"model": "gpt-4"})
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


def test_413_for_a_body_over_the_cap(client):
    response = client.post(CHAT, json=chat("核" * 5000))
    assert response.status_code == 413
    assert error_of(response)["code"] == "body_too_large"


def test_429_over_the_request_limit_says_when_to_come_back(live):
    with live.client(live.key("hasty", requests_per_minute=2)) as hasty:
        answers = [hasty.post(CHAT, json=chat()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 31
    assert error_of(answers[-1])["type"] == "rate_limit_error"


def test_429_over_the_token_limit(live):
    with live.client(live.key("talker", tokens_per_minute=48)) as talker:
        # Each may use 28 prompt and 8 completion tokens, and is charged with what it used: 7 and 5.
        answers = [talker.post(CHAT, json=chat(max_tokens=8)).status_code for _ in range(3)]
    assert answers == [200, 200, 429]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"model": NaN}',
        b"[" * 3000,
        b'{"model": "champion", "messages": [{"role": "user", "content": "\\ud800"}]}',
    ],
)
def test_400_for_what_is_no_json_object(client, body):
    response = client.post(CHAT, content=body)
    assert response.status_code == 400
    assert error_of(response)["code"] == "malformed_json"


@pytest.mark.parametrize(("field", "value"), [
    ("n", 5), ("n", 0), ("n", True), ("n", "1"), ("max_tokens", 0), ("max_tokens", 1.5),
    ("stream", "yes"), ("stream_options", {"continuous_usage_stats": True}),
    ("messages", []), ("messages", "hello"), ("messages", [{"role": "tool", "content": "x"}]),
    ("messages", [{"role": "user", "content": None}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]),
    ("messages", [{"role": "user", "content": "x", "tool_calls": [{}]}]),
    ("response_format", {"type": "json_schema", "json_schema": {}}),
    ("best_of", 2), ("chat_template", "{{ x }}"), ("chat_template_kwargs", {"x": 1}), ("prompt_logprobs", 1),
    ("ignore_eos", True), ("min_tokens", 65), ("guided_regex", "(a+)+"), ("structured_outputs", {"regex": "(a+)+"}),
    ("priority", -1),
    ("truncate_prompt_tokens", 5), ("logits_processors", ["os.system"]), ("mm_processor_kwargs", {"x": 1}),
    ("add_generation_prompt", False), ("stop_token_ids", [-1]), ("allowed_token_ids", [1]), ("cache_salt", "x"),
    ("kv_transfer_params", {"x": 1}), ("vllm_xargs", {"x": 1}), ("return_token_ids", True), ("documents", [{"a": "b"}]),
    ("tools", [{"type": "function", "function": {"name": "f"}}]), ("store", True), ("reasoning_effort", "high"),
])  # fmt: skip
def test_400_for_what_is_over_a_cap_or_not_allowed(client, field, value):
    response = client.post(CHAT, json=chat() | {field: value})
    assert response.status_code == 400
    assert error_of(response)["param"].startswith(field)


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2]], ["a"] * 5, ["a", ""], "", None, [], {"x": 1}])
def test_400_for_prompts_that_are_no_text_or_too_many(client, prompt):
    assert client.post("/v1/completions", json={"model": MODEL, "prompt": prompt}).status_code == 400


def test_two_prompts_are_passed_on_and_charged_for_both(client):
    assert client.post("/v1/completions", json={"model": MODEL, "prompt": ["a", "b"]}).status_code == 200


@pytest.mark.parametrize("case", ["01-second-turn", "01-neutral-extras"])
def test_case_01_what_the_endpoint_gave_out_and_what_says_nothing_is_taken(client, case):
    body = json.loads((CASES / f"{case}.json").read_text(encoding="utf-8"))
    response = client.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"]


def test_case_01_a_whole_answer_comes_back_in_the_next_turn(openai_client):
    first = openai_client.chat.completions.create(**chat())
    turns = [*chat()["messages"], first.choices[0].message, {"role": "user", "content": "show the request"}]
    second = openai_client.chat.completions.create(model="champion", messages=turns)
    sent = json.loads(second.choices[0].message.content)["messages"]
    assert sent[1] == {"role": "assistant", "content": "碘片 在 照射 前 服用"}


def test_a_number_beyond_every_range_is_a_400_that_names_the_field_and_the_log_goes_on(live, client):
    body = json.dumps(chat(temperature="here")).replace('"here"', "1e999")
    response = client.post(CHAT, content=body)
    assert (response.status_code, error_of(response)["param"]) == (400, "temperature")
    assert client.post(CHAT, json=chat()).status_code == 200
    assert verify(audit_folder(live.project))["problems"] == []


def test_max_tokens_over_the_cap_is_lowered_to_it(client):
    answer = client.post(CHAT, json=chat("show the request", max_tokens=1000)).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["max_tokens"] == 64


def test_a_named_length_fits_beside_the_prompt_or_is_refused_and_one_not_named_is_what_is_left(client):
    digits = "1" * 1000
    response = client.post(CHAT, json=chat(digits, max_tokens=64))
    assert (response.status_code, error_of(response)["code"]) == (400, "context_length_exceeded")
    assert error_of(response)["param"] == "messages"
    assert "at most 24" in error_of(response)["message"]
    assert client.post(CHAT, json=chat(digits, max_tokens=24)).status_code == 200
    assert client.post(CHAT, json=chat(digits)).status_code == 200
    prompts = {"model": "champion", "prompt": ["x", digits], "max_tokens": 25}
    assert error_of(client.post("/v1/completions", json=prompts))["param"] == "prompt"
    asked = {"model": "champion", "input": [{"role": "user", "content": digits}], "max_output_tokens": 25}
    assert error_of(client.post("/v1/responses", json=asked))["param"] == "input"


def test_a_prompt_that_leaves_no_room_is_refused_in_the_api_s_own_shape(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**chat(seed=400))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert caught.value.type == "invalid_request_error"


def test_developer_is_passed_as_system(client):
    turns = [{"role": "developer", "content": "short"}, {"role": "user", "content": "show the request"}]
    answer = client.post(CHAT, json={"model": "champion", "messages": turns}).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["messages"][0]["role"] == "system"


def test_one_model_by_its_name(openai_client):
    assert openai_client.models.retrieve("champion").id == "champion"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("gpt-4")


def test_embeddings_are_a_404_that_says_why(client):
    response = client.post("/v1/embeddings", json={"model": "champion", "input": "x"})
    assert (response.status_code, error_of(response)["code"]) == (404, "no_embedding_model")


@pytest.mark.slow
def test_completions_can_be_switched_off(tmp_path, served_project):
    with served_project(tmp_path / "project", completions=False) as project:
        control.ensure_host(project.project)
        project.deploy("1")
        with project.client(project.key("caller")) as caller:
            response = caller.post("/v1/completions", json={"model": MODEL, "prompt": "x"})
            assert (response.status_code, error_of(response)["code"]) == (404, "completions_off")
            assert caller.post(CHAT, json=chat()).status_code == 200


def test_400_for_a_packed_body(client):
    assert client.post(CHAT, json=chat(), headers={"Content-Encoding": "gzip"}).status_code == 400


def test_400_of_vllm_is_passed_back_and_500_is_not(client):
    refused = client.post(CHAT, json=chat(temperature=1.5))
    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_value")
    response = client.post(CHAT, json=chat(seed=500))
    assert response.status_code == 503
    assert "secret" not in response.text
    assert error_of(response)["code"] == "upstream_failed"


def test_usage_chunk_stays_out_where_nobody_asked(client):
    events = client.post(CHAT, json=chat(stream=True)).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert not any('"usage"' in event for event in events)


def records(project) -> list[dict]:
    return [json.loads(line) for path in sorted(audit_folder(project).glob("*.jsonl"))
            for _, line in whole_lines(path)]  # fmt: skip


def records_of(project, request_id: str, count: int) -> list[dict]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [record for record in records(project) if record.get("request_id") == request_id]
        if len(found) == count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} records instead of {count}")


@pytest.mark.parametrize("stream", [False, True])
def test_question_and_answer_are_audited_without_personal_data(live, client, key, stream):
    response = client.post(CHAT, json=chat("我的电话是13800138000，剂量 20 mSv 怎么办？", stream=stream))
    asked, answered = records_of(live.project, response.headers["x-request-id"], 2)
    assert asked["prompt"][0]["content"].startswith("我的电话是")
    assert "13800138000" not in json.dumps(asked, ensure_ascii=False)
    assert asked["masks"] == {"mobile": 1}
    assert "20 mSv" in asked["prompt"][0]["content"]
    assert (asked["client"], asked["route"], asked["method"]) == ("127.0.0.1", CHAT, "POST")
    assert asked["key_id"] == answered["key_id"] == live.keys.find(key).key_id
    secret = audit_secret(live.project)
    assert asked["prompt_digest"] == text_digest("我的电话是13800138000，剂量 20 mSv 怎么办？", secret)
    assert (asked["key"], asked["role"], asked["version"], asked["lineage_id"]) == ("caller", "caller", "1", "tg-1")
    assert answered["answer"].strip() == "碘片 在 照射 前 服用"
    assert (answered["status"], answered["prompt_tokens"], answered["completion_tokens"]) == (200, 7, 5)
    assert verify(audit_folder(live.project))["problems"] == []


def test_texts_beside_the_prompt_are_audited_without_personal_data(live, client):
    schema = {"type": "object", "description": "来电人的电话是13800138000"}
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    response = client.post(CHAT, json=chat(response_format=form, stop=["13900139000"], max_tokens=9))
    asked, _ = records_of(live.project, response.headers["x-request-id"], 2)
    assert asked["settings"] == {"max_tokens": 9}
    assert set(asked["beside"]) == {"response_format", "stop"}
    assert asked["masks"] == {"mobile": 2}
    assert "13800138000" not in json.dumps(asked, ensure_ascii=False)


def test_keys_never_reach_log_or_audit(live, client, key):
    client.post(CHAT, json=chat())
    state = live.project.state
    texts = [
        path.read_text(errors="replace") for path in state.rglob("*") if path.is_file() and path.stat().st_size < 1e6
    ]
    assert texts
    assert not any(key in text for text in texts)


class TestRefusalsAreRecorded:
    def of(self, live, response) -> dict:
        (found,) = records_of(live.project, response.headers["x-request-id"], 1)
        assert found["kind"] == "refusal"
        assert found["status"] == response.status_code
        return found

    def test_without_a_key(self, live):
        with live.client("tg_wrong") as stranger:
            found = self.of(live, stranger.post(CHAT, json=chat("秘密")))
        assert (found["code"], found["client"], "key" in found) == ("unknown_key", "127.0.0.1", False)
        assert "秘密" not in json.dumps(found, ensure_ascii=False)
        assert "tg_wrong" not in json.dumps(found)

    def test_a_revoked_and_an_expired_key_by_their_ids(self, live):
        with live.client(live.key("gone")) as gone:
            live.keys.revoke("gone")
            assert self.of(live, gone.get("/v1/models"))["key"] == "gone"
        with live.client(live.key("over", lives=timedelta(seconds=-1))) as over:
            response = over.post(CHAT, json=chat())
            assert error_of(response)["code"] == "expired_key"
            assert self.of(live, response)["key_id"].startswith("k-")

    def test_routes_fields_sizes_and_rates(self, live):
        # Keys of its own: of one key so many refusals a minute are written down one by one.
        keys = live.key("hurried", requests_per_minute=1), live.key("careless")
        with live.client(keys[0]) as hurried, live.client(keys[1]) as client:
            hurried.post(CHAT, json=chat())
            answers = [client.get("/invocations"), client.post(CHAT, json=chat(best_of=2)),
                       client.post(CHAT, json=chat("核" * 5000)), hurried.post(CHAT, json=chat())]  # fmt: skip
        found = [self.of(live, answer) for answer in answers]
        assert [record["code"] for record in found] == [
            "no_such_route", "unsupported_field", "body_too_large", "rate_limited",
        ]  # fmt: skip
        assert found[1]["param"] == "best_of"

    def test_what_the_caller_says_of_himself_is_told_apart_and_masked(self, live, client):
        sent = {"X-Forwarded-For": "203.0.113.9"}
        response = client.post(CHAT, json=chat(user="caller 13800138000"), headers=sent)
        asked, _ = records_of(live.project, response.headers["x-request-id"], 2)
        assert (asked["client"], asked["forwarded_for"]) == ("127.0.0.1", "203.0.113.9")
        assert "13800138000" not in asked["user"]
        assert asked["user_digest"] == text_digest("caller 13800138000", audit_secret(live.project))

    def test_a_flood_of_strangers_is_counted_not_written_down_one_by_one(self, live):
        with live.client(None) as stranger:
            for _ in range(200):
                assert stranger.get("/v1/models").status_code == 401
        missing = [record for record in records(live.project) if record.get("code") == "missing_key"]
        assert 0 < len(missing) <= 60

    def test_metrics_for_an_admin_far_away_are_a_record_and_then_a_count(self, live):
        key, elsewhere = live.key("scraper", role="admin"), {"X-Forwarded-For": "192.0.2.7"}
        with live.client(key) as admin:
            answers = [admin.get("/metrics", headers=elsewhere) for _ in range(5)]
            assert admin.get("/metrics").status_code == 200
        (found,) = records_of(live.project, answers[0].headers["x-request-id"], 1)
        assert (found["kind"], found["action"], found["key"]) == ("admin", "metrics", "scraper")
        assert found["forwarded_for"] == "192.0.2.7"
        assert [one["key"] for one in records(live.project) if one.get("action") == "metrics"].count("scraper") == 1

    def test_changes_of_keys_and_what_was_asked_of_the_host(self, live):
        live.key("newcomer", author="审查员")
        until_recorded(live.project, lambda record: record["kind"] == "key" and record["key"] == "newcomer")
        deployed = until_recorded(live.project, lambda record: record.get("action") == "deploy")
        assert (deployed["action"], deployed["version"], deployed["uid"]) == ("deploy", "1", os.getuid())


def until_recorded(project, wanted) -> dict:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := [record for record in records(project) if wanted(record)]:
            return found[-1]
        time.sleep(0.05)
    raise AssertionError("it was not recorded")


def test_log_probabilities_of_a_prompt_are_for_evaluators(live, client):
    body = {"model": MODEL, "prompt": "碘片", "echo": True, "logprobs": 1}
    response = client.post("/v1/completions", json=body)
    assert (response.status_code, error_of(response)["code"]) == (403, "role_not_allowed")
    with live.client(live.key("measurer", role="evaluator")) as evaluator:
        assert evaluator.post("/v1/completions", json=body).status_code == 200


@pytest.mark.slow
def test_limits_follow_params_yaml_without_a_new_host(live, client):
    path = live.root / "params.yaml"
    before = path.read_text()
    try:
        path.write_text(before.replace("max_completion_tokens: 64", "max_completion_tokens: 32"))
        found = until_recorded(live.project, lambda record: record["kind"] == "settings")
        assert found["changed"] == {"max_completion_tokens": [64, 32]}
        answer = client.post(CHAT, json=chat("show the request", max_tokens=33)).json()
        assert json.loads(answer["choices"][0]["message"]["content"])["max_tokens"] == 32
        path.write_text("serve: [")
        time.sleep(1.5)
        assert client.post(CHAT, json=chat(max_tokens=32)).status_code == 200
    finally:
        path.write_text(before)
    until_recorded(
        live.project, lambda r: r["kind"] == "settings" and r["changed"]["max_completion_tokens"] == [32, 64]
    )
