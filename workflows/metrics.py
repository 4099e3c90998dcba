"""What a tick that runs for ever tells Prometheus about itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from penstock.errors import UserError
from workflows.recording import Tick

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class TickMetrics:
    """Metrics of one pipeline's ticks; ``observe`` is given each record."""

    def __init__(self, pipeline: str) -> None:
        self.registry = CollectorRegistry()
        self._pipeline = pipeline
        self._ticks = self._counter(
            "penstock_ticks", "Ticks by what was decided and how it ended", "decision", "result"
        )
        self._seconds = Histogram(
            "penstock_tick_seconds",
            "How long the parts of a tick took",
            ("pipeline", "part"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._load = self._gauge("penstock_load_rps", "Newest arrival rate")
        self._forecast = self._gauge("penstock_forecast_rps", "Load that was planned for")
        self._flags = self._gauge(
            "penstock_load_flags", "What was wrong with the load data", "flag"
        )
        self._gap = self._gauge("penstock_solver_gap_ratio", "Distance to the solver's bound")
        self._replicas = self._gauge(
            "penstock_plan_replicas", "Replicas of the best plan", "stage", "variant"
        )
        self._cores = self._gauge("penstock_plan_cores", "Cores of the best plan")
        self._accuracy = self._gauge("penstock_plan_accuracy_ratio", "Accuracy of the best plan")
        self._capacity = self._gauge("penstock_plan_capacity_rps", "Capacity of the best plan")
        self._latency = self._gauge("penstock_plan_latency_seconds", "Latency it promises")
        self._edits = self._gauge("penstock_edited_fields", "Fields that somebody else changed")
        self._withheld = self._gauge("penstock_quarantined_services", "Services not tried again")
        self._last = self._gauge("penstock_last_tick_timestamp_seconds", "When a tick last ended")

    def observe(self, record: Tick, *, now_s: float) -> None:
        """Take a tick into account."""
        result = "none" if record.result is None else "ok" if record.result.ok else "failed"
        self._ticks.labels(self._pipeline, record.decision.kind, result).inc()
        for part in fields(record.durations_s):
            taken_s = getattr(record.durations_s, part.name)
            self._seconds.labels(self._pipeline, part.name).observe(taken_s)
        self._flags.clear()
        if record.load is not None:
            self._set(self._load, record.load.last_rps)
            for flag in record.load.flags:
                self._flags.labels(self._pipeline, flag).set(1)
        if record.load_rps is not None:
            self._set(self._forecast, record.load_rps)
        self._set(self._edits, len(record.edits))
        self._set(self._withheld, len(record.withheld))
        self._set(self._last, now_s)
        self._observe_plan(record)

    @contextmanager
    def served(self, port: int) -> Iterator[int]:
        """Serve ``/metrics`` for the time of a ``with`` block; yields the port, a free one for 0.

        Raises:
            UserError: the port can't be listened on.
        """
        try:
            server, thread = start_http_server(port, registry=self.registry)
        except OSError as err:
            raise UserError(
                f"cannot serve metrics on port {port}: {err.strerror}; choose another"
            ) from err
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _observe_plan(self, record: Tick) -> None:
        self._replicas.clear()
        plan = record.plan
        if plan is None:
            return
        for option in plan.stages:
            at = self._replicas.labels(self._pipeline, option.stage, option.variant)
            at.set(option.replicas)
        self._set(self._cores, plan.promise.cost_cores)
        self._set(self._accuracy, plan.promise.accuracy)
        self._set(self._capacity, plan.promise.capacity_rps)
        self._set(self._latency, plan.promise.latency_s)
        if record.gap is not None:
            self._set(self._gap, record.gap)

    def _set(self, gauge: Gauge, value: float) -> None:
        gauge.labels(self._pipeline).set(value)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, ("pipeline", *labels), registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, ("pipeline", *labels), registry=self.registry)
