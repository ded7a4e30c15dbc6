"""The way to the host: one of an older release goes on serving while the commands are updated."""

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from tasks.core.project import Project
from tasks.serving import control
from tasks.serving.paths import control_socket

OLDER = {"url": "http://127.0.0.1:8080", "slot": "blue", "version": "1", "lineage_id": "tg-1", "healthy": True,
         "host_pid": os.getpid(), "in_flight": 0, "deploying": False, "audit_healthy": True,
         "drain_timeout_s": 1.0}  # fmt: skip


class OlderHost(BaseHTTPRequestHandler):
    """Knows /status alone."""

    def do_GET(self) -> None:
        self.answer(200, OLDER)

    def do_POST(self) -> None:
        self.answer(404, None)

    def answer(self, status, value) -> None:
        body = json.dumps(value).encode() if value else b"404: Not Found"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *given) -> None:
        pass


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path)
    control_socket(found).parent.mkdir(parents=True)
    with socketserver.ThreadingUnixStreamServer(str(control_socket(found)), OlderHost) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def test_an_older_host_is_understood(project):
    status = control.host_status(project)
    assert (status["version"], status["deploying"], status["wanted"], status["recovering"]) == ("1", None, None, False)
    assert (status["given_up"], status["previous"]) == ({}, [])


def test_what_an_older_host_cannot_end_is_not_ended(project):
    assert control.abort_deployment(project) is False
