"""A span for each request that reaches a version, where a collector is named; never a word of what was asked.

Attributes follow OpenTelemetry's conventions for generative AI (semantic-conventions, gen-ai-spans); what they do not
name (lineage id, version, slot, key, outcome) stands under `tunegate.`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.propagate import extract, inject
from opentelemetry.trace import NoOpTracerProvider, Span, SpanKind, Status, StatusCode

from tasks.serving.api.fields import Kind
from tasks.serving.outcome import CALLER_LEFT, OK

if TYPE_CHECKING:
    from tasks.serving.exchange import Exchange

#: Either of them names the collector, http://host:4318; without both, spans are neither made nor sent.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "tunegate-gateway"
#: In the words of OpenTelemetry's conventions.
OPERATIONS: dict[Kind, str] = {
    "chat": "chat",
    "completion": "text_completion",
    "responses": "chat",
    "embedding": "embeddings",
}
#: Milliseconds in which the last spans are sent when the host ends.
LAST_SPANS_MS = 3000

#: Field of a request -> attribute.
_SETTINGS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
}


class Tracing:
    """Makes the spans and sends them in a thread of its own.

    Reads the standard variables of OpenTelemetry's SDK (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, ...).
    """

    def __init__(self) -> None:
        self._provider: Any = _sending() if any(os.environ.get(name) for name in ENDPOINTS) else NoOpTracerProvider()
        self._tracer = self._provider.get_tracer(SERVICE)

    @contextmanager
    def request(self, headers: Mapping[str, str], operation: str) -> Iterator[Span]:
        """Give a span for one request; it goes on with the caller's trace where `traceparent` names one.

        Args:
            headers: of the request; found by name in any case.
            operation: `chat` or `text_completion`.
        """
        with self._tracer.start_as_current_span(
            operation, extract(headers), kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def close(self) -> None:
        """Send what is left."""
        if not isinstance(self._provider, NoOpTracerProvider):
            self._provider.force_flush(LAST_SPANS_MS)
            self._provider.shutdown()


def upstream_headers() -> dict[str, str]:
    """Return the headers that let the model server's own spans follow the present one."""
    headers: dict[str, str] = {}
    inject(headers)
    return headers


def describe(span: Span, operation: str, exchange: "Exchange") -> None:
    """Write on a span what became of a request."""
    if not span.is_recording():
        return
    deployment, asked = exchange.lease.deployment, exchange.admitted.payload
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": exchange.admitted.model,
        "gen_ai.request.stream": exchange.admitted.stream,
        "gen_ai.response.model": deployment.lineage_id,
        "gen_ai.usage.input_tokens": exchange.prompt_tokens,
        "gen_ai.usage.output_tokens": exchange.completion_tokens,
        "gen_ai.response.time_to_first_chunk": exchange.first_s if exchange.admitted.stream else None,
        "tunegate.request_id": exchange.headers["x-request-id"],
        "tunegate.version": deployment.version,
        "tunegate.lineage_id": deployment.lineage_id,
        "tunegate.slot": exchange.lease.slot,
        "tunegate.key": exchange.facts["key"],
        "tunegate.outcome": exchange.outcome,
    } | {_SETTINGS[name]: value for name, value in asked.items() if name in _SETTINGS}
    span.update_name(f"{operation} {exchange.admitted.model}")
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if exchange.outcome not in (OK, CALLER_LEFT):
        span.set_attribute("error.type", exchange.outcome)
        span.set_status(Status(StatusCode.ERROR, exchange.outcome))


def _sending() -> Any:
    """Return a provider whose spans go to the collector that the environment names."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or SERVICE
    provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
