"""What a predictor tells Prometheus. Labels are bounded: none of them comes from a request."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class PredictorMetrics:
    """The metrics of one predictor process, in a registry of their own."""

    def __init__(self, model: str) -> None:
        self._registry = kept = CollectorRegistry()
        self._requests = Counter(
            "penstock_predictor_requests", "Requests answered", ["model", "code"], registry=kept
        )
        self._model = model
        self.queue_seconds = Histogram(
            "penstock_predictor_queue_seconds", "Wait for the model", buckets=SECONDS, registry=kept
        )
        self.service_seconds = Histogram(
            "penstock_predictor_service_seconds", "One model call", buckets=SECONDS, registry=kept
        )
        self.batch_size = Histogram(
            "penstock_predictor_batch_size", "Requests per model call", buckets=SIZES, registry=kept
        )
        self.in_flight = Gauge(
            "penstock_predictor_in_flight", "Requests accepted and not answered", registry=kept
        )
        self.queue_length = Gauge(
            "penstock_predictor_queue_length", "Requests that wait for the model", registry=kept
        )
        self.ready = Gauge(
            "penstock_predictor_ready", "1 while it takes new requests", registry=kept
        )
        self.max_batch_size = Gauge(
            "penstock_predictor_max_batch_size", "The batch limit in force", registry=kept
        )
        self.load_seconds = Gauge(
            "penstock_predictor_model_load_seconds", "Process start to model ready", registry=kept
        )
        self.batch_file_faults = Gauge(
            "penstock_predictor_batch_file_faults",
            "Batch files refused since the start",
            registry=kept,
        )

    def answered(self, code: int) -> None:
        """Count one answer."""
        self._requests.labels(self._model, str(code)).inc()

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self._registry)
