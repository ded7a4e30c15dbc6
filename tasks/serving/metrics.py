"""What the gateway counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds; the gateway's own share is milliseconds, an answer takes seconds.
_ADDED_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1)
_REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tunegate_requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.tokens = Counter("tunegate_tokens", "Tokens by kind", ["kind"], registry=self.registry)
        self.request_s = Histogram(
            "tunegate_request_seconds", "Whole request", ["route"], buckets=_REQUEST_S, registry=self.registry
        )
        self.before_upstream_s = Histogram(
            "tunegate_before_upstream_seconds", "From the request's arrival to vLLM", buckets=_ADDED_S,
            registry=self.registry,
        )  # fmt: skip
        self.queue_s = Histogram("tunegate_queue_seconds", "Waiting for a place, by priority", ["priority"],
                                 buckets=_REQUEST_S, registry=self.registry)  # fmt: skip
        self.in_flight = Gauge("tunegate_in_flight", "Requests under way by slot", ["slot"], registry=self.registry)
        self.live = Gauge(
            "tunegate_live", "1 for what is served", ["slot", "version", "lineage_id"], registry=self.registry
        )
        self.audit_healthy = Gauge("tunegate_audit_healthy", "1 while the audit log can be written",
                                   registry=self.registry)  # fmt: skip
        self.audit_pending = Gauge("tunegate_audit_pending", "Audit records not yet written", registry=self.registry)

    def render(self) -> bytes:
        """Return the text Prometheus reads."""
        return generate_latest(self.registry)
