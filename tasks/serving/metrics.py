"""What the gateway counts, for Prometheus; rules and a dashboard over these series are in infra/monitoring."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tasks.serving.audit import AuditLog
from tasks.serving.embedding import Embedding
from tasks.serving.exchange import Exchange
from tasks.serving.outcome import OK
from tasks.serving.slots import Slots

#: Seconds; the gateway's own share is milliseconds, an answer takes seconds.
_ADDED_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1)
_REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_FIRST_TOKEN_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_BETWEEN_TOKENS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Series of one gateway, in a registry of their own.

    `outcome` is what happened, in words of serving/outcome.py; `key` is a key's name, never the key.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_requests()
        self._count_answers()
        self._show_slots()

    def render(self) -> bytes:
        """Return the text Prometheus reads."""
        return generate_latest(self.registry)

    def answered(self, exchange: Exchange, arrived: float) -> None:
        """Add what became of a request.

        Args:
            arrived: when the request came, by time.perf_counter().
        """
        version, key = exchange.lease.deployment.version, exchange.facts["key"]
        self.answers.labels(version, key, exchange.outcome).inc()
        for kind, count in (("prompt", exchange.prompt_tokens), ("completion", exchange.completion_tokens)):
            if count:
                self.tokens.labels(kind, version, key).inc(count)
        if exchange.admitted.stream and exchange.first_at:
            self.first_token_s.labels(version).observe(exchange.first_at - arrived)
            if exchange.outcome != OK:
                self.aborted_streams.labels(version, exchange.outcome).inc()
        if (between := exchange.between_tokens_s) is not None:
            self.between_tokens_s.labels(version).observe(between)

    def show(self, slots: Slots, engine_works: bool, audit: AuditLog, embedding: Embedding | None) -> None:
        """Set the series of what is so at the moment."""
        self.live.clear()
        self.candidate.clear()
        for slot in slots.slots:
            self.in_flight.labels(slot.name).set(slot.in_flight)
            if slot is slots.live and slot.deployment:
                self.live.labels(slot.name, slot.deployment.version, slot.deployment.lineage_id).set(1)
            if slot is slots.candidate and slot.deployment:
                self.candidate.labels(slot.deployment.version).set(slots.share.percent / 100)
        if embedding:
            self.embedding_works.labels(embedding.name).set(embedding.works)
        self.engine_works.set(engine_works)
        self.audit_healthy.set(audit.healthy)
        self.audit_pending.set(audit.pending)

    def _count_requests(self) -> None:
        """Make the series of all requests, whatever became of them."""
        self.requests = self._counter("tunegate_requests", "Requests by what happened", "route", "status", "outcome")
        # Without labels it is there from the start with 0: `increase` sees the very first one.
        self.internal_errors = self._counter("tunegate_internal_errors", "Errors nobody foresaw")
        self.request_s = self._histogram("tunegate_request_seconds", "Whole request", _REQUEST_S, "route")
        self.queue_s = self._histogram("tunegate_queue_seconds", "Waiting for a place", _REQUEST_S, "priority")
        self.before_upstream_s = self._histogram(
            "tunegate_before_upstream_seconds", "From having a place to vLLM", _ADDED_S
        )

    def _count_answers(self) -> None:
        """Make the series of requests that reached a version."""
        self.answers = self._counter("tunegate_answers", "Requests a version was asked", "version", "key", "outcome")
        self.tokens = self._counter("tunegate_tokens", "Tokens by kind", "kind", "version", "key")
        self.aborted_streams = self._counter(
            "tunegate_aborted_streams", "Streams that ended before their last event", "version", "outcome"
        )
        self.first_token_s = self._histogram(
            "tunegate_time_to_first_token_seconds", "From the request's arrival to the first token of its stream",
            _FIRST_TOKEN_S, "version",
        )  # fmt: skip
        self.between_tokens_s = self._histogram(
            "tunegate_inter_token_seconds", "Mean time between two tokens of a stream", _BETWEEN_TOKENS_S, "version"
        )

    def _show_slots(self) -> None:
        """Make the series of what is so at the moment."""
        self.in_flight = self._gauge("tunegate_in_flight", "Requests under way by slot", "slot")
        self.live = self._gauge("tunegate_live", "1 for what is served", "slot", "version", "lineage_id")
        self.candidate = self._gauge("tunegate_candidate_share", "Share of the requests a candidate gets", "version")
        self.engine_works = self._gauge("tunegate_engine_works", "1 while the live engine makes tokens")
        self.embedding_works = self._gauge("tunegate_embedding_works", "1 while the embedding model answers", "name")
        self.audit_healthy = self._gauge("tunegate_audit_healthy", "1 while the audit log can be written")
        self.audit_pending = self._gauge("tunegate_audit_pending", "Audit records not yet written")
        self.limits_hold = self._gauge("tunegate_limits_hold", "1 while limits hold over all gateways as they are set")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        """Return a counter of this registry; its series ends in _total."""
        return Counter(name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        """Return a gauge of this registry."""
        return Gauge(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """Return a histogram of this registry; buckets in seconds."""
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)
