"""What a tick that runs for ever tells Prometheus about itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from penstock.domain import Pipeline
from penstock.errors import UserError
from workflows.numbers import (
    NUMBERS,
    PARTS,
    SECONDS,
    SECONDS_BUCKETS,
    SECONDS_MEANING,
    TICKS,
    TICKS_MEANING,
    Seen,
    result_of,
)
from workflows.recorded import Tick


class TickMetrics:
    """Metrics of one pipeline's ticks; ``observe`` is given each record."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.registry = CollectorRegistry()
        self._pipeline = pipeline
        self._ticks = Counter(
            TICKS,
            TICKS_MEANING,
            ("pipeline", "decision", "result"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            SECONDS,
            SECONDS_MEANING,
            ("pipeline", "part"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._gauges = {
            number.name: Gauge(
                number.name,
                number.meaning,
                ("pipeline", *number.labels),
                registry=self.registry,
            )
            for number in NUMBERS
        }

    def observe(self, record: Tick, *, now_s: float) -> None:
        """Take a tick into account; what it did not get to know stays as it was."""
        name = self._pipeline.name
        self._ticks.labels(name, record.decision.kind, result_of(record)).inc()
        for part in PARTS:
            self._seconds.labels(name, part).observe(getattr(record.durations_s, part))
        seen = Seen(record=record, pipeline=self._pipeline, now_s=now_s)
        for number in NUMBERS:
            if seen.has(number.when):
                for row in number.rows(self._pipeline):
                    self._gauges[number.name].labels(name, *row).set(number.read(seen, row))

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
