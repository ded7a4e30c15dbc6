"""What a run writes on its commit. GitHub is a stand-in here: a server on loopback that keeps what it is sent."""

import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Crashed, Failed, Running

from flows.github_status import API, CONTEXT, REPOSITORY, TOKEN, report
from flows.outcome import GATE_FAILED

COMMIT = "6d" * 20


@pytest.fixture
def github(monkeypatch):
    """A stand-in for GitHub's API: `asked` is what came, `answer` the code it gives."""
    found = SimpleNamespace(asked=[], answer=201)

    class Api(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.asked.append((self.path, self.headers["authorization"], body))
            self.send_response(found.answer)
            self.send_header("content-length", "0")
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(API, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv(REPOSITORY, "ward/tunegate")
        monkeypatch.setenv(TOKEN, "a-secret")
        yield found
        server.shutdown()


def run(**parameters):
    return FlowRun(id=uuid4(), flow_id=uuid4(), name="laptop, brave-otter", parameters=parameters)


@pytest.mark.parametrize(
    ("state", "said"),
    [(Running(), "pending"), (Completed(), "success"), (Failed(name=GATE_FAILED), "failure"), (Failed(), "error"),
     (Crashed(), "error"), (Cancelled(), "error")],
)  # fmt: skip
def test_the_commit_is_told_and_the_gates_no_is_no_broken_run(github, state, said):
    report(None, run(rev=COMMIT), state)
    ((path, login, body),) = github.asked
    assert path == f"/repos/ward/tunegate/statuses/{COMMIT}"
    assert login == "Bearer a-secret"
    assert (body["state"], body["context"]) == (said, CONTEXT)
    assert body["description"].startswith("laptop, brave-otter: ")


HOOKED = """
from flows.github_status import report
from flows.pipeline import pipeline
found = (pipeline.on_running_hooks, pipeline.on_completion_hooks, pipeline.on_failure_hooks,
         pipeline.on_crashed_hooks, pipeline.on_cancellation_hooks)
print(sum(report in hooks for hooks in found))
"""


@pytest.mark.parametrize(("repository", "told"), [("ward/tunegate", "5"), ("", "0")])
def test_the_pipeline_reports_every_end_it_can_have_where_somebody_is_told(repository, told):
    environment = os.environ | {REPOSITORY: repository}
    done = subprocess.run([sys.executable, "-c", HOOKED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


@pytest.mark.parametrize("parameters", [{}, {"rev": None}, {"rev": "main"}, {"rev": COMMIT + "/../x"}])
def test_a_run_of_no_certain_commit_reports_nothing(github, parameters):
    report(None, run(**parameters), Completed())
    assert github.asked == []


@pytest.mark.parametrize(
    ("variable", "value"), [(TOKEN, ""), (REPOSITORY, ""), (REPOSITORY, "a/b/c"), (API, "ftp://x")]
)
def test_without_a_place_and_a_right_nothing_is_sent(github, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    report(None, run(rev=COMMIT), Completed())
    assert github.asked == []


@pytest.mark.parametrize("answer", [401, 302, 307])
def test_a_refusal_is_said_without_the_token_and_costs_the_run_nothing(github, caplog, answer):
    caplog.set_level(logging.INFO, logger="flows")
    logging.getLogger("flows").addHandler(caplog.handler)
    github.answer = answer
    report(None, run(rev=COMMIT), Completed())
    logging.getLogger("flows").removeHandler(caplog.handler)
    assert f"no status on commit 6d6d6d6d6d6d: GitHub says {answer}" in caplog.text
    assert "a-secret" not in caplog.text
    assert len(github.asked) == 1
