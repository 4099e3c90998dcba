"""What a gateway tells Prometheus: arrivals, answers by status, latency, requests in flight."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penstock.load_metric import ARRIVALS

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
_LABELS = ("pipeline", "namespace")


class GatewayMetrics:
    """The metrics of one gateway, in a registry of its own.

    The namespace is a label of the metric itself: a Prometheus that discovers pods adds the same
    one, one that is told its targets by hand adds none, and the query for the load asks for it.
    """

    def __init__(self, pipeline: str, namespace: str) -> None:
        self._registry = kept = CollectorRegistry()
        self._of = (pipeline, namespace)
        self._requests = Counter(
            "penstock_requests", "Requests answered", [*_LABELS, "code"], registry=kept
        )
        self.arrivals = Counter(ARRIVALS, "Requests arrived", _LABELS, registry=kept).labels(
            *self._of
        )
        self.seconds = Histogram(
            "penstock_request_seconds",
            "Arrival to answer",
            _LABELS,
            buckets=BUCKETS_S,
            registry=kept,
        ).labels(*self._of)
        self.in_flight = Gauge(
            "penstock_in_flight", "Requests not answered yet", _LABELS, registry=kept
        ).labels(*self._of)

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer and what it took."""
        self._requests.labels(*self._of, str(status)).inc()
        self.seconds.observe(seconds)

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self._registry)
