"""Arrival rates from a counter that is scraped directly, where there is no Prometheus server."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from optimizer.fetch import fetch_bytes, require_http
from penstock.domain import Load
from penstock.errors import DomainError, SourceError

if TYPE_CHECKING:
    from optimizer.load import LoadSource

METRIC = "penstock_arrivals_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterQuery:
    """What to scrape: every sample of ``metric`` at ``url`` that carries ``labels`` is added up."""

    url: str
    metric: str = METRIC
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 2.0
    max_bytes: int = 4_000_000

    def __post_init__(self) -> None:
        require_http(self.url)

    def read(self) -> float:
        """Return the counter's value now.

        Raises:
            SourceError: no answer, no metrics in it, no such counter, or a value no counter has.
        """
        body = fetch_bytes(self.url, timeout_s=self.timeout_s, max_bytes=self.max_bytes)
        return self.total(body.decode(errors="replace"))

    def total(self, text: str) -> float:
        """Return the counter's value in a text of metrics; raises as ``read``."""
        try:
            found = [
                sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == self.metric and self.labels.items() <= sample.labels.items()
            ]
        except ValueError as err:
            raise SourceError(f"{self.url} does not serve metrics: {err}") from err
        if not found:
            raise SourceError(
                f"{self.url} has no {self.metric} with {dict(self.labels)}; "
                "is it the gateway, is the pipeline's name right?"
            )
        total = math.fsum(found) if all(map(math.isfinite, found)) else math.nan
        if not total >= 0:
            raise SourceError(f"{self.url}: {self.metric} is {found}, which no counter can be")
        return total


class CounterLoad:
    """Turns successive scrapes into rates; it keeps (time, arrivals so far) for one window.

    There is no thread: the owner calls ``sample`` as often as it wants resolution, and ``window``
    takes a sample itself. Between two scrapes the rate counts as constant. A counter that fell
    has restarted from 0: what it shows now is what came since (flag ``reset``). Scrapes further
    apart than ``max_gap_s`` (default three steps) flag ``gap``.
    """

    def __init__(
        self,
        query: CounterQuery,
        *,
        window_steps: int,
        step_s: float,
        max_gap_s: float | None = None,
    ) -> None:
        if window_steps < 1 or not (math.isfinite(step_s) and step_s > 0):
            raise DomainError(
                f"counter load: needs window_steps >= 1 and step_s > 0, got "
                f"{window_steps} and {step_s}"
            )
        self._query = query
        self._window_steps = window_steps
        self._step_s = step_s
        self._max_gap_s = 3 * step_s if max_gap_s is None else max_gap_s
        self._last_total = 0.0
        self._times_s: list[float] = []
        self._arrivals: list[float] = []
        self._resets_s: list[float] = []

    def sample(self, now_s: float) -> None:
        """Scrape once and remember it; a scrape no later than the last one is dropped.

        Raises:
            SourceError: as ``CounterQuery.read``; what was remembered stays.
        """
        total = self._query.read()
        if self._times_s and now_s <= self._times_s[-1]:
            return
        if not self._times_s:
            self._arrivals.append(0.0)
        else:
            fell = total < self._last_total
            if fell:
                self._resets_s.append(now_s)
            self._arrivals.append(self._arrivals[-1] + total - (0 if fell else self._last_total))
        self._times_s.append(now_s)
        self._last_total = total
        self._forget(now_s - self._window_steps * self._step_s)

    def window(self, now_s: float) -> Load:
        """Scrape once more and return the rates of the steps that end at ``now_s``.

        Raises:
            SourceError: as ``sample``, or less than one step has passed since the first scrape.
        """
        self.sample(now_s)
        end_s = self._times_s[-1]
        steps = min(
            self._window_steps,
            # A span of whole steps must not lose one to rounding.
            math.floor((end_s - self._times_s[0]) / self._step_s + 1e-9),
        )
        if steps < 1:
            raise SourceError(
                f"{self._query.url} was first scraped {end_s - self._times_s[0]:g} s ago; "
                f"a rate needs {self._step_s:g} s"
            )
        edges = [self._arrivals_by(end_s - i * self._step_s) for i in range(steps, -1, -1)]
        values = tuple(max(0.0, after - before) / self._step_s for before, after in pairwise(edges))
        flags = self._flags(end_s - steps * self._step_s)
        return Load(values_rps=values, step_s=self._step_s, end_s=end_s, flags=flags)

    def _arrivals_by(self, time_s: float) -> float:
        """Return the arrivals up to a time between two scrapes, by a straight line."""
        right = bisect_left(self._times_s, time_s)
        if right == 0:
            return self._arrivals[0]
        (t0, t1), (a0, a1) = (
            self._times_s[right - 1 : right + 1],
            self._arrivals[right - 1 : right + 1],
        )
        return a0 + (a1 - a0) * (time_s - t0) / (t1 - t0)

    def _flags(self, start_s: float) -> tuple[str, ...]:
        flags = []
        pairs = pairwise(self._times_s)
        if any(b - a > self._max_gap_s for a, b in pairs if b > start_s):
            flags.append("gap")
        if any(reset_s > start_s for reset_s in self._resets_s):
            flags.append("reset")
        return tuple(flags)

    def _forget(self, start_s: float) -> None:
        """Drop what lies before the window, but for its newest scrape: it starts the first step."""
        older = max(0, bisect_left(self._times_s, start_s) - 1)
        del self._times_s[:older], self._arrivals[:older]
        self._resets_s = [t for t in self._resets_s if t > start_s]


if TYPE_CHECKING:
    _counter: LoadSource = CounterLoad(CounterQuery(url=""), window_steps=1, step_s=1.0)
