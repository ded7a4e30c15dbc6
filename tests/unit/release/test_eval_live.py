"""`tunegate eval live`: which version, whose key, what it says, how it ends. The asking: tests/unit/evaluation."""

import http.server
import json
import threading

import pytest
from click.testing import CliRunner

from tasks.cli.evaluation_live import live
from tasks.core.errors import ConfigError, GateFailedError, TransientError
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path

AGREEMENT = {
    "suites": {"domain_choice": {"items": 12, "value": 0.5, "released_value": 0.5, "better": 1, "worse": 1,
                                 "form": "letter", "same": 11, "differ": ["c-07"]}},
    "choices": {"items": 12, "same": 11}, "texts": {"items": 0, "same": 0}, "not_asked": ["domain_thinking"],
    "items_not_asked": 3, "items_without_evidence": 0, "fingerprint": 0.97, "findings": [],
}  # fmt: skip


class Models(http.server.BaseHTTPRequestHandler):
    """A gateway's /v1/models: it says which version is live, to those with a key."""

    def do_GET(self):
        known = KeyStore(self.server.keys).find(self.headers["Authorization"].removeprefix("Bearer "))
        self.server.asked_with.append(known.name if known else None)
        status = 200 if known and known.revoked_at is None else 401
        self.send_response(status)
        if self.server.lineage_id:
            self.send_header("x-tunegate-lineage", self.server.lineage_id)
        self.end_headers()
        self.wfile.write(json.dumps({"error": {"message": "this key is not known here"}}).encode())

    def log_message(self, *given):
        pass


@pytest.fixture
def gateway(project, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models)
    server.keys, server.asked_with, server.lineage_id = keys_path(project), [], "tg-1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (project.root / "dvc.yaml").touch()
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    monkeypatch.setenv("TUNEGATE_GATEWAY_PORT", str(server.server_address[1]))
    monkeypatch.delenv("TUNEGATE_API_KEY", raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(project, settings, run_stages, monkeypatch):
    """Register version 1, and put a stand-in where the questions are asked; gives what it was called with."""
    from tasks.evaluation.live import live as module

    run_stages(project, "tg-1")
    register(project, settings)
    calls = []

    def stand_in(params, questions, version, endpoint, *, output, scratch):
        calls.append((version, endpoint))
        assert KeyStore(keys_path(project)).find(endpoint.key).revoked_at is None
        return stand_in.results | {"version": version.number, "model_lineage_id": version.lineage_id}

    stand_in.results = {"metrics": {"domain_choice_accuracy": 0.5}, "canary": {"failures": []}, "agreement": AGREEMENT}
    monkeypatch.setattr(module, "evaluate_live", stand_in)
    monkeypatch.setattr(module, "read_live_questions", lambda *given: None)
    stand_in.calls = calls
    return stand_in


def run(*arguments):
    return CliRunner().invoke(live, arguments, catch_exceptions=True)


def test_the_live_version_is_held_to_its_own_evidence_with_a_key_that_ends_with_the_call(project, gateway, asked):
    done = run()
    assert done.exit_code == 0, done.exception
    ((version, endpoint),) = asked.calls
    assert (version.number, version.lineage_id) == ("1", "tg-1")
    assert json.loads((version.evidence / "results.json").read_text())["metrics"]
    assert (version.model / "config.json").is_file()
    assert endpoint.url == project.gateway_url
    (key,) = KeyStore(keys_path(project)).all()
    assert key.revoked_at is not None
    assert gateway.asked_with == [key.name]
    assert "domain_choice" in done.output
    assert "not asked: domain_thinking" in done.output
    assert "version 1 live answers as its evidence (fingerprint 97%)" in done.output


def test_the_version_keeps_when_its_endpoint_was_asked_last(project, settings, gateway, asked):
    assert run("--limit", "2").exit_code == 0
    record = json.loads(Registry(project, settings.register_.model_name).version("1").tags["tunegate.live"])
    assert (record["agrees"], record["fingerprint"], record["limit"]) == (True, 0.97, 2)


@pytest.mark.slow
def test_json_is_one_value_on_stdout(project, gateway, asked):
    value = json.loads(run("--json").stdout)
    assert (value["agrees"], value["version"], value["lineage_id"]) == (True, "1", "tg-1")
    assert value["choices"] == {"items": 12, "same": 11}


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "words"), [
    ({"canary": {"failures": ["'a' scored -1"]}}, "canary: 'a' scored -1"),
    ({"agreement": AGREEMENT | {"findings": ["31% of the fingerprint's answers agree"]}}, "31% of the fingerprint"),
])  # fmt: skip
def test_an_endpoint_that_is_not_what_was_released_ends_with_the_gates_code(gateway, asked, changes, words):
    asked.results |= changes
    done = run("--json")
    assert isinstance(done.exception, GateFailedError)
    assert words in done.exception.message
    assert json.loads(done.stdout)["agrees"] is False


def test_a_given_key_is_used_and_not_revoked(project, gateway, asked, monkeypatch):
    secret = KeyStore(keys_path(project)).create("审查", "caller")
    monkeypatch.setenv("TUNEGATE_API_KEY", secret)
    assert run().exit_code == 0
    assert gateway.asked_with == ["审查"]
    assert [key.revoked_at for key in KeyStore(keys_path(project)).all()] == [None]


@pytest.mark.slow
@pytest.mark.parametrize(("lineage_id", "error", "words"), [
    ("tg-404", ConfigError, "tg-404 is live but not registered"),
    ("", ConfigError, "is no gateway of Tunegate"),
])  # fmt: skip
def test_what_has_no_evidence_here_is_not_asked(project, gateway, asked, lineage_id, error, words):
    gateway.lineage_id = lineage_id
    done = run()
    assert isinstance(done.exception, error)
    assert words in done.exception.message
    assert asked.calls == []
    assert all(key.revoked_at for key in KeyStore(keys_path(project)).all())


@pytest.mark.slow
def test_a_refused_key_and_a_gateway_that_is_not_there(project, gateway, asked, monkeypatch):
    monkeypatch.setenv("TUNEGATE_API_KEY", "tg_wrong")
    refused = run().exception
    assert isinstance(refused, ConfigError)
    assert "refuses the key: this key is not known here" in refused.message
    lost = run("--url", "http://127.0.0.1:9").exception
    assert isinstance(lost, TransientError)
    assert "tunegate serve" in lost.hint
