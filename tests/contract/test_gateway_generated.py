"""Whatever is asked gets an answer of the API, never a 500; of vLLM's own routes the listed alone can be reached."""

import ast
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tasks.serving import control
from tasks.serving.api.fields import fields_of
from tasks.serving.audit.chain import verify
from tasks.serving.gateway import ROUTES
from tasks.serving.paths import audit_folder
from tests.contract.embeddings import configure

UV = Path(sys.executable).with_name("uv")
ROOT = Path(__file__).parents[2]
ASKED = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "碘片？"}]}),
    "completion": ("/v1/completions", {"prompt": "碘片"}),
    "responses": ("/v1/responses", {"input": "碘片？"}),
}
#: Written as they are: what JSON's own writer would not write stands there too.
VALUES = (
    "null", "true", "false", "0", "1", "-1", "2", "1.5", "1e999", "-1e999", "1e308", "9223372036854775807",
    "1" * 400, '""', '"none"', '"auto"', '"required"', '"text"', '"\\ud800"', '"\\u0000"', "[]", "{}", "[[]]",
    '[""]', '["a"]', '[{"role":"user","content":"x"}]', '[{"role":"tool","content":"x","tool_call_id":"c"}]',
    '[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}]',
    '[{"type":"function","function":{"name":"f","parameters":{"$ref":"http://x"}}}]',
    '{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}', '{"type":"json_object"}',
    '{"enable_thinking":true}', '{"include_usage":true}', '{"effort":"low"}', '{"0":1}', '{"x":1e999}',
    "[" * 200 + "]" * 200,
)  # fmt: skip
#: The gateway's own, whatever vLLM has under these names.
OWN = {"/healthz", "/livez", "/readyz", "/metrics"}
METHODS = {"get", "post", "put", "delete", "patch", "head", "websocket", "api_route"}


def bodies(count: int, seed: int):
    """Yield (path, body): a request that is right but for a few fields of the table, with any value."""
    chance = random.Random(seed)
    for _ in range(count):
        kind = chance.choice(list(ASKED))
        path, right = ASKED[kind]
        fields = {"model": '"champion"'} | {name: json.dumps(value) for name, value in right.items()}
        for name in chance.sample(sorted(fields_of(kind)), chance.randint(0, 4)):
            fields[name] = chance.choice(VALUES)
        yield path, "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"


def ask_all(project, count: int, seed: int) -> dict[int, int]:
    """Send generated bodies; return how often each status came."""
    found: dict[int, int] = {}
    with project.client(project.key(f"generated-{count}", tokens_per_minute=10**9)) as client:
        for path, body in bodies(count, seed):
            response = client.post(path, content=body.encode("utf-8", "surrogatepass"))
            found[response.status_code] = found.get(response.status_code, 0) + 1
            assert response.status_code in (200, 400, 404, 413), (path, body, response.text)
            if response.status_code != 200:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return found


@pytest.fixture(scope="module")
def generous(served_project, tmp_path_factory):
    caps = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9, "max_completion_tokens": 64}
    with served_project(tmp_path_factory.mktemp("generous") / "project", **caps) as found:
        # Without an embedding model its route is answered as one that is not there.
        configure(found.root, found.model("bge"))
        control.ensure_host(found.project)
        found.deploy("1")
        yield found


def test_300_generated_bodies_get_an_answer_and_the_log_is_whole(generous):
    found = ask_all(generous, 300, seed=1)
    assert found[200] > 20
    assert found[400] > 100
    assert verify(audit_folder(generous.project))["problems"] == []


@pytest.mark.slow
def test_5000_generated_bodies_get_an_answer_and_the_log_is_whole(generous):
    ask_all(generous, 5000, seed=2)
    assert verify(audit_folder(generous.project))["problems"] == []


def vllm_routes() -> set[str]:
    """Return every path that vLLM's own code puts a route at, whatever it is started with."""
    package = next((ROOT / ".venv-serve").glob("lib/python*/site-packages/vllm"))
    found = set()
    for path in (package / "entrypoints").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_route = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            if is_route and node.args and isinstance(node.args[0], ast.Constant):
                value = node.args[0].value
                found |= {value} if isinstance(value, str) and value.startswith("/") else set()
    return found


def vllm_fields(route: str, name: str) -> set[str]:
    """Return the fields of a request of vLLM, read off its own class."""
    package = next((ROOT / ".venv-serve").glob("lib/python*/site-packages/vllm"))
    tree = ast.parse((package / "entrypoints" / route / "protocol.py").read_text(encoding="utf-8"))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    names = {line.target.id for line in found.body if isinstance(line, ast.AnnAssign)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.slow
@pytest.mark.parametrize(("place", "route", "name"), [
    ("chat", "openai/chat_completion", "ChatCompletionRequest"),
    ("completion", "openai/completion", "CompletionRequest"), ("responses", "openai/responses", "ResponsesRequest"),
    ("embedding", "pooling/base", "PoolingBasicRequestMixin"), ("embedding", "pooling/base", "CompletionRequestMixin"),
    ("embedding", "pooling/base", "EncodingRequestMixin"), ("embedding", "pooling/base", "EmbedRequestMixin"),
])  # fmt: skip
def test_every_field_of_vllms_requests_has_a_line(place, route, name):
    """A field without a line is refused all the same; with one its neutral value is not."""
    assert vllm_fields(route, name) - set(fields_of(place)) == set()


@pytest.mark.slow
def test_of_vllms_own_routes_the_listed_alone_can_be_reached(generous):
    routes = vllm_routes()
    assert {"/v1/chat/completions", "/tokenize", "/v1/load_lora_adapter", "/invocations"} <= routes
    assert len(routes) > 30
    reached = set()
    with generous.client(generous.key("walker", tokens_per_minute=10**9)) as client:
        for route in sorted(routes):
            path = route.replace("{", "").replace("}", "").replace(":path", "")
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                url = httpx.URL(client.base_url, raw_path=path.encode())
                answer = client.request(method, url, content=b"{}")
                assert "must not be reachable" not in answer.text
                if answer.status_code != 404:
                    reached.add(route)
    assert reached - OWN == set(ROUTES)


SCHEMATHESIS = "schemathesis==4.32.5"


@pytest.mark.slow
def test_schemathesis_over_the_gateways_own_document(generous, tmp_path):
    """Server errors, statuses that are not in the document and bodies of another form are failures."""
    environment = Path(os.environ.get("TUNEGATE_CLIENTS", tmp_path)) / "schemathesis"
    if not (environment / "bin" / "schemathesis").exists():
        subprocess.run([UV, "venv", "-q", "--python", sys.executable, environment], check=True, timeout=300)
        install = [UV, "pip", "install", "-q", "--python", environment / "bin" / "python", SCHEMATHESIS]
        subprocess.run(install, check=True, timeout=300)
    key = generous.key("schemathesis", tokens_per_minute=10**9)
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run(
        [environment / "bin" / "schemathesis", "run", ROOT / "docs" / "gateway-openapi.json", "-u",
         generous.project.gateway_url, "-H", f"Authorization: Bearer {key}", "-c", checks, "--phases",
         "examples,fuzzing",
         "-n", "300", "--seed", "1", "--no-color"],
        capture_output=True, text=True, check=False, timeout=1200, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert verify(audit_folder(generous.project))["problems"] == []
