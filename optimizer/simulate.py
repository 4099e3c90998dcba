"""A small discrete-event simulation of a plan's queues: what the latency models are held against.

One pipeline, one plan, Poisson arrivals. A stage's requests go to the replica with the fewest
requests in it, in turn among equals, as the router does; a replica closes a batch when it is full
or when its oldest request has waited ``max_wait_s``, and while it is busy a batch fills on, as the
predictor does. A batch of k is served as the smallest profiled batch that holds it; the time is
drawn from the profile's quantiles, straight lines between them, with the profile's mean.

The queue discipline is checked against closed forms (M/M/c, M/D/1) in the tests.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from penstock.domain import NodeKind
from penstock.errors import DomainError
from penstock.graph import nodes_of

if TYPE_CHECKING:
    from penstock.domain import Node, Option, Pipeline, Plan, ProfilePoint, ProfileTable

_ARRIVAL, _CLOSE, _DONE = 0, 1, 2

Draw = Callable[[int], float]
"""The service time [s] of a batch of so many requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One stage: ``replicas`` that each serve batches of up to ``batch_size``.

    With ``shares_queue`` whoever is idle takes from one queue, as in the textbook; otherwise each
    replica has its own and a request joins the shortest.
    """

    replicas: int
    batch_size: int
    max_wait_s: float
    draw: Draw
    shares_queue: bool = False


def simulate_plan(
    plan: Plan,
    pipeline: Pipeline,
    table: ProfileTable,
    *,
    requests: int,
    seed: int,
) -> tuple[float, ...]:
    """Return the end-to-end latencies [s] of requests at the plan's load, the first tenth left out.

    Raises:
        DomainError: a stage makes more or fewer requests of one, or there is no load.
    """
    ratios = [stage.visit_ratio for stage in pipeline.stages]
    ratios += [step.fan_out for _, node in nodes_of(pipeline.shape) for step in node.steps]
    if any(ratio != 1 for ratio in ratios) or plan.load_rps <= 0:
        raise DomainError("the simulation takes visit ratios and fan-outs of 1 and a load above 0")
    rng = random.Random(seed)
    starts, now_s = [], 0.0
    for _ in range(requests):
        now_s += rng.expovariate(plan.load_rps)
        starts.append(now_s)
    stations = {option.stage: _station(option, table, rng) for option in plan.stages}
    times = _through_graph(starts, pipeline.shape, stations, rng)
    latencies = [end - start for start, end in zip(starts, times, strict=True)]
    return tuple(latencies[requests // 10 :])


def attainment(latencies_s: Sequence[float], slo_s: float) -> float:
    """Return the share of the latencies within the SLO."""
    return sum(latency_s <= slo_s for latency_s in latencies_s) / len(latencies_s)


def _through_graph(
    arrivals_s: Sequence[float],
    node: Node | str,
    stations: Mapping[str, Station],
    rng: random.Random,
) -> list[float]:
    """Return when each request leaves a node: a branch of a Switch or Splitter sees its share."""
    if isinstance(node, str):
        return _through(arrivals_s, stations[node])
    times = list(arrivals_s)
    if node.kind is NodeKind.SEQUENCE:
        for step in node.steps:
            times = _through_graph(times, step.to, stations, rng)
        return times
    if node.kind is NodeKind.ENSEMBLE:
        each = [_through_graph(times, step.to, stations, rng) for step in node.steps]
        return [max(ends) for ends in zip(*each, strict=True)]
    taken = rng.choices(range(len(node.steps)), weights=node.shares(), k=len(times))
    for branch, step in enumerate(node.steps):
        mine = [i for i, b in enumerate(taken) if b == branch]
        ends = _through_graph([times[i] for i in mine], step.to, stations, rng)
        for i, end in zip(mine, ends, strict=True):
            times[i] = end
    return times


def _through(arrivals_s: Sequence[float], station: Station) -> list[float]:
    """Return when each request leaves the station; arrivals need not be in order."""
    order = sorted(range(len(arrivals_s)), key=arrivals_s.__getitem__)
    ends = simulate_station([arrivals_s[i] for i in order], station)
    left = [0.0] * len(order)
    for i, end in zip(order, ends, strict=True):
        left[i] = end
    return left


def _station(option: Option, table: ProfileTable, rng: random.Random) -> Station:
    profile = table.find(option.stage, option.variant)
    assert profile is not None, "the plan was made from these profiles"
    points = {
        p.batch_size: p
        for p in profile.points
        if math.isclose(p.cpu_cores, option.cpu_cores, rel_tol=1e-9)
    }
    curves = {size: _quantile_curve(point) for size, point in sorted(points.items())}

    def draw(count: int) -> float:
        size = next((b for b in curves if b >= count), option.batch_size)
        return _read(curves[size], rng.random())

    return Station(
        replicas=option.replicas,
        batch_size=option.batch_size,
        max_wait_s=option.max_wait_s,
        draw=draw,
    )


def _quantile_curve(point: ProfilePoint) -> tuple[tuple[float, float], ...]:
    """Return (quantile, seconds) corners from 0 to 1 whose straight lines have the profile's mean.

    The lowest time is what the mean leaves over, and never above the lowest known quantile.
    """
    known = sorted(point.latency_s.items())
    mean_s = point.batch_size / point.throughput_rps
    corners = [*known, (1.0, known[-1][1])]
    area = sum((q2 - q1) * (v1 + v2) / 2 for (q1, v1), (q2, v2) in pairwise(corners))
    first_q, first_s = known[0]
    lowest_s = 2 * (mean_s - area) / first_q - first_s
    return ((0.0, min(first_s, max(0.0, lowest_s))), *corners)


def _read(curve: tuple[tuple[float, float], ...], share: float) -> float:
    for (q1, v1), (q2, v2) in pairwise(curve):
        if share <= q2:
            return v1 + (v2 - v1) * (share - q1) / (q2 - q1) if q2 > q1 else v2
    return curve[-1][1]


def simulate_station(arrivals_s: Sequence[float], station: Station) -> list[float]:
    """Return when each request leaves, for arrivals in rising order."""
    return _Replicas(station).run(arrivals_s)


class _Replicas:
    """The state of a station: who waits where, who is busy, what happens next."""

    def __init__(self, station: Station) -> None:
        self._station = station
        queues = 1 if station.shares_queue else station.replicas
        self._waiting: list[deque[tuple[float, int]]] = [deque() for _ in range(queues)]
        self._serving = [0] * station.replicas
        self._events: list[tuple[float, int, int, int]] = []
        self._count = 0
        self._ends: list[float] = []

    def run(self, arrivals_s: Sequence[float]) -> list[float]:
        self._ends = [0.0] * len(arrivals_s)
        for i, at_s in enumerate(arrivals_s):
            while self._events and self._events[0][0] <= at_s:
                self._step()
            self._arrive(i, at_s)
        while self._events:
            self._step()
        return self._ends

    def _step(self) -> None:
        now_s, _, kind, replica = heapq.heappop(self._events)
        if kind == _DONE:
            self._serving[replica] = 0
        self._begin(replica, now_s)

    def _arrive(self, i: int, now_s: float) -> None:
        if self._station.shares_queue:
            self._waiting[0].append((now_s, i))
            idle = next((r for r, busy in enumerate(self._serving) if not busy), None)
            if idle is not None:
                self._begin(idle, now_s)
            return
        loads = [len(w) + s for w, s in zip(self._waiting, self._serving, strict=True)]
        least = min(loads)
        count = len(loads)
        replica = (
            next(r for r in range(i % count, i % count + count) if loads[r % count] == least)
            % count
        )
        self._waiting[replica].append((now_s, i))
        self._begin(replica, now_s)

    def _begin(self, replica: int, now_s: float) -> None:
        """Start a batch if the replica is idle and one is due, else come back when it is."""
        waiting = self._waiting[0 if self._station.shares_queue else replica]
        if self._serving[replica] or not waiting:
            return
        closes_s = waiting[0][0] + self._station.max_wait_s
        if len(waiting) < self._station.batch_size and now_s < closes_s:
            self._at(closes_s, _CLOSE, replica)
            return
        batch = [waiting.popleft() for _ in range(min(len(waiting), self._station.batch_size))]
        end_s = now_s + self._station.draw(len(batch))
        for _, i in batch:
            self._ends[i] = end_s
        self._serving[replica] = len(batch)
        self._at(end_s, _DONE, replica)

    def _at(self, when_s: float, kind: int, replica: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (when_s, self._count, kind, replica))
