"""Ports, services, hubs: real sockets and a real small server."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tasks.machine.network import base_model, base_pin, check_ports, check_services, missing_from_hubs


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/well/health": 200, "/closed/health": 401, "/ill/health": 503}.get(self.path, 200))
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), _Answers) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def named(checks):
    return {check.name: check for check in checks}


def test_free_ports(project):
    assert {check.outcome for check in check_ports(project)} == {"ok"}
    assert len(check_ports(project)) == 4


def test_a_busy_port_names_the_variable_that_moves_it(project):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 18102))
        busy.listen()
        check = named(check_ports(project))["port 18102"]
    assert check.outcome == "failed"
    assert "TUNEGATE_SLOT_PORT" in check.todo


@pytest.mark.slow
@pytest.mark.parametrize(("path", "outcome"), [("/well", "ok"), ("/closed", "warning"), ("/ill", "failed")])
def test_a_named_service(project, laptop, server, monkeypatch, path, outcome):
    monkeypatch.setenv("PREFECT_API_URL", server + path)
    assert named(check_services(laptop, project))["Prefect server"].outcome == outcome


def test_a_service_that_is_not_there(project, laptop, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tunegate:秘密@127.0.0.1:9".replace("秘密", "hidden"))
    check = named(check_services(laptop, project))["MLflow server"]
    assert check.outcome == "failed"
    assert "unset MLFLOW_TRACKING_URI" in check.todo
    assert "hidden" not in check.found


def test_services_nobody_named_are_not_asked(project, laptop):
    checks = named(check_services(laptop, project))
    assert {checks["Prefect server"].outcome, checks["MLflow server"].outcome} == {"ok"}


def test_a_hub_is_asked_only_for_what_is_missing(project, large):
    assert missing_from_hubs(large, project) == {
        "huggingface": ["Qwen/Qwen2.5-72B-Instruct", "ceval (ceval/ceval-exam)", "cmmlu (haonan-li/cmmlu)"]
    }
    folder = project.state / "models" / "huggingface" / "Qwen--Qwen2.5-72B-Instruct" / "main"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in ("ceval--ceval-exam", "haonan-li--cmmlu"):
        (project.state / "datasets" / "huggingface" / name).mkdir(parents=True)
    assert missing_from_hubs(large, project) == {}


def test_a_hub_out_of_reach(project, large, monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    check = named(check_services(large, project))["huggingface"]
    assert check.outcome == "failed"
    assert "modelscope" in check.todo
    monkeypatch.setenv("HF_ENDPOINT", server)
    assert named(check_services(large, project))["huggingface"].outcome == "ok"


def test_a_local_base_model_must_be_there(project, laptop):
    local = laptop.base_model.model_copy(update={"source": "local", "id": "models/千问"})
    settings = laptop.model_copy(update={"base_model": local})
    assert base_model(settings, project).outcome == "failed"
    (project.root / "models" / "千问").mkdir(parents=True)
    (project.root / "models" / "千问" / "config.json").write_text("{}")
    assert base_model(settings, project).outcome == "ok"


def test_a_packaged_model_must_be_installed(project, laptop):
    assert base_model(laptop, project).outcome == "ok"
    other = laptop.base_model.model_copy(update={"id": "llm-nobody"})
    check = base_model(laptop.model_copy(update={"base_model": other}), project)
    assert (check.outcome, check.todo) == ("failed", "make setup")


def with_base(settings, **changes):
    return settings.model_copy(update={"base_model": settings.base_model.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("changes", "outcome", "todo"),
    [
        ({}, "warning", "git ls-remote https://huggingface.co/Qwen/Qwen2.5-72B-Instruct HEAD"),
        ({"source": "modelscope"}, "warning", "git ls-remote https://modelscope.cn/Qwen/Qwen2.5-72B-Instruct HEAD"),
        ({"revision": "0123456"}, "warning", "tunegate stage prepare"),
        ({"digest": "sha256:0"}, "warning", "revision: <the commit it prints>"),
        ({"revision": "0123456", "digest": "sha256:0"}, "ok", ""),
    ],
)
def test_a_hub_s_model_without_revision_or_digest_is_a_warning_with_the_command(project, large, changes, outcome, todo):
    (check,) = base_pin(with_base(large, **changes))
    assert check.outcome == outcome
    assert todo in check.todo
    assert (check.todo == "") == (outcome == "ok")


def test_the_revision_is_asked_of_the_mirror_that_is_used(project, large, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.example/")
    (check,) = base_pin(large)
    assert "git ls-remote https://mirror.example/Qwen/" in check.todo


def test_a_packaged_or_local_base_has_no_revision_to_pin(laptop):
    assert base_pin(laptop) == base_pin(with_base(laptop, source="local")) == []
