"""What a gateway tells Prometheus: arrivals, answers by status, latency, requests in flight."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penstock.domain import Slo
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
        self._slo: Slo | None = None

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer and what it took."""
        self._requests.labels(*self._of, str(status)).inc()
        self.seconds.observe(seconds)
        if self._slo is not None and (seconds > self._slo.latency_s or status >= 500):
            self._misses.inc()

    def hold_to(self, slo: Slo | None) -> None:
        """Count from now on what misses an SLO: a histogram's buckets need not have its latency."""
        if slo is None:
            return
        self._slo = slo
        self._misses = Counter(
            "penstock_slo_misses",
            "Requests that took longer than the SLO allows, or failed",
            _LABELS,
            registry=self._registry,
        ).labels(*self._of)
        for name, meaning, value in (
            ("penstock_slo_latency_seconds", "Latency that the SLO allows", slo.latency_s),
            ("penstock_slo_quantile_ratio", "Share of requests that it is for", slo.quantile),
        ):
            Gauge(name, meaning, _LABELS, registry=self._registry).labels(*self._of).set(value)

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self._registry)
