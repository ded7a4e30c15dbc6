"""Spans of a real gateway, as a collector receives them."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tasks.serving import control
from tests.contract.hosts import BODY, CHAT, STREAMED, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


class Collector(ThreadingHTTPServer):
    """Keeps the spans it is sent, and every byte of them."""

    def __init__(self) -> None:
        self.spans: list = []
        self.bytes = b""
        super().__init__(("127.0.0.1", 0), _Handler)

    def of(self, name: str) -> list[dict]:
        """The attributes of the spans of a name."""
        return [
            {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
            for span in self.spans
            if span.name == name
        ]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.bytes += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def collector():
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def traced(tmp_path, served_project, collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with served_project(tmp_path / "project") as found:
        control.ensure_host(found.project)
        found.deploy("1", token_s=0.01, die_after=3)
        yield found


def test_a_span_goes_on_with_the_callers_trace_and_holds_no_text(traced, collector):
    with traced.client(traced.key("desk")) as client:
        shown = BODY | {"messages": [{"role": "user", "content": "show the headers"}], "temperature": 0.5}
        told = json.loads(client.post(CHAT, json=shown, headers=CALLER).json()["choices"][0]["message"]["content"])
        client.post(CHAT, json=STREAMED)
        until(lambda: len(collector.spans) >= 2)
    spans = {span.trace_id.hex() == TRACE: span for span in collector.spans}
    assert told["traceparent"] == f"00-{TRACE}-{spans[True].span_id.hex()}-01"
    assert spans[True].parent_span_id.hex() == "00f067aa0ba902b7"
    whole, streamed = collector.of("chat champion")
    assert (whole["gen_ai.operation.name"], whole["gen_ai.request.temperature"]) == ("chat", 0.5)
    assert (whole["gen_ai.usage.input_tokens"], whole["gen_ai.usage.output_tokens"]) == (7, 1)
    assert (whole["tunegate.lineage_id"], whole["tunegate.key"], whole["tunegate.outcome"]) == ("tg-1", "desk", "ok")
    assert "gen_ai.response.time_to_first_chunk" not in whole
    # The stand-in dies in the middle of a stream.
    assert (streamed["error.type"], streamed["tunegate.outcome"]) == ("upstream_lost", "upstream_lost")
    assert streamed["gen_ai.request.stream"] is True
    assert spans[False].status.code == spans[False].status.STATUS_CODE_ERROR
    for word in ("碘片什么时候服用", "show the headers", "tg_"):
        assert word.encode() not in collector.bytes


@pytest.mark.slow
def test_the_last_spans_are_sent_when_the_host_ends(traced, collector, monkeypatch):
    with traced.client(traced.key("desk")) as client:
        client.post(CHAT, json=BODY)
    control.stop_host(traced.project)
    until(lambda: len(collector.spans) == 1)


@pytest.mark.slow
def test_without_a_collector_the_callers_trace_goes_through_and_nothing_is_made(started):
    started.deploy("1")
    with started.client(started.key("desk")) as client:
        shown = BODY | {"messages": [{"role": "user", "content": "show the headers"}]}
        answer = client.post(CHAT, json=shown, headers=CALLER).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["traceparent"] == CALLER["traceparent"]
