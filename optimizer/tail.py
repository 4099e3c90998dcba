"""The end-to-end latency at a quantile, from the distributions of the stages' latencies.

The quantile of a sum is below the sum of the quantiles: the stages are rarely slow for the same
request. Each stage's latency is taken to be ``max(fill, queue) + service``, independent of each
other and of the other stages, on a grid of the SLO's five-hundredth:

* **Fill.** While requests fill a batch before the time runs out, a request waits for a uniform
  share of ``(b - 1) / rate``. Otherwise the first of a batch waits for all of ``max_wait`` and the
  others for a uniform share; with ``rate x max_wait`` others per first one, ``1 / (1 + rate x
  max_wait)`` are first ones.
* **Queue.** A request waits for earlier batches with the probability that all replicas are busy
  (Erlang's C formula; exact for M/M/c), and then close to exponentially, with the scale of
  ``latency.queue_wait_s`` (Kingman) shared among the replicas, because it joins the shortest queue;
  but there it stands behind *one* replica and waits for what is left of its batch, half of it on
  average. A batch begins when it is closed *and* a replica is free: hence the maximum.
* **Service.** The profile's quantiles, straight lines between them, the highest one to the end.

A Sequence adds latencies up (convolution), an Ensemble waits for the slowest branch (the product of
the distribution functions), a Switch or Splitter mixes its branches' distributions by probability.

What is left out is padded: ``PADDING`` was set by ``bench/tail.py``, which holds plans of this
model against a simulation of their queues (``simulate``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimizer.latency import fill_wait_s, max_wait_s, queue_scale_s, service_s, utilisation
from penstock.domain import NodeKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.domain import Node, ProfilePoint

    Floats = NDArray[np.float64]

PADDING = 0.05
"""The convolved quantile is raised by this share."""

_RESIDUAL = 0.5
_PER_SLO = 500
_SLOS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A stage as a request meets it: a point, its replicas, the rate [req/s] at the stage."""

    point: ProfilePoint
    replicas: int
    rate_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A node as requests meet it: its parts, and the share of requests that take each."""

    kind: NodeKind
    parts: tuple[Visit | Flow, ...]
    shares: tuple[float, ...]

    def visits(self) -> tuple[Visit, ...]:
        """Return the stages below."""
        below = ((p,) if isinstance(p, Visit) else p.visits() for p in self.parts)
        return tuple(visit for part in below for visit in part)


def flow_of(graph: Node, visits: Mapping[str, Visit]) -> Flow:
    """Return a graph with what each of its stages is like."""
    parts = (visits[s.to] if isinstance(s.to, str) else flow_of(s.to, visits) for s in graph.steps)
    return Flow(kind=graph.kind, parts=tuple(parts), shares=graph.shares())


def padded_quantile_s(flow: Flow, *, quantile: float, slo_s: float) -> float:
    """Return the end-to-end latency [s] at a quantile, with ``PADDING``.

    Infinite when a stage cannot keep up. Beyond four times the SLO the grid is coarser.
    """
    if any(
        v.rate_rps > 0 and (v.replicas == 0 or utilisation(v.point, rate_rps=_each(v)) >= 1)
        for v in flow.visits()
    ):
        return math.inf
    reached_s = math.inf
    while not math.isfinite(reached_s):
        reached_s = _quantile_s(flow, quantile=quantile, slo_s=slo_s)
        slo_s *= _SLOS
    return reached_s * (1 + PADDING)


def _quantile_s(flow: Flow, *, quantile: float, slo_s: float) -> float:
    """Return the quantile [s] on the grid of an SLO; infinite beyond its end."""
    step_s = slo_s / _PER_SLO
    reached = np.cumsum(_mass(flow, step_s))
    place = int(np.searchsorted(reached, quantile - 1e-12))
    # The last step holds all that is beyond.
    return math.inf if place >= _PER_SLO * _SLOS - 1 else place * step_s


def _mass(part: Visit | Flow, step_s: float) -> Floats:
    """Return the probabilities of 0, 1, 2 ... steps in a part; the last one holds the rest."""
    if isinstance(part, Visit):
        return _distribution(part, step_s)
    each = [_mass(one, step_s) for one in part.parts]
    match part.kind:
        case NodeKind.SEQUENCE:
            return _sum(each)
        case NodeKind.ENSEMBLE:
            below = np.prod([np.cumsum(mass) for mass in each], axis=0)
            return np.asarray(np.diff(below, prepend=0.0))
        case NodeKind.SWITCH | NodeKind.SPLITTER:
            return np.asarray(np.asarray(part.shares) @ np.stack(each))


def _sum(masses: Sequence[Floats]) -> Floats:
    """Return the distribution of a sum, its tail cut at the grid's end."""
    count = _PER_SLO * _SLOS
    # Long enough that nothing wraps around.
    size = 1 << math.ceil(math.log2(count * (len(masses) + 1)))
    spectrum = np.ones(size // 2 + 1, dtype=complex)
    for mass in masses:
        spectrum *= np.fft.rfft(mass, size)
    whole = np.fft.irfft(spectrum, size)
    cut: Floats = whole[:count]
    cut[-1] += max(0.0, 1 - cut.sum())
    return cut


def _each(visit: Visit) -> float:
    return visit.rate_rps / max(1, visit.replicas)


def _distribution(visit: Visit, step_s: float) -> Floats:
    """Return the probabilities of 0, 1, 2 ... steps in a stage; the last one holds the rest."""
    ends_s = np.asarray(np.arange(_PER_SLO * _SLOS) * step_s, dtype=np.float64)
    size = 2 * len(ends_s)
    begun = _fill(visit, ends_s) * _queue(visit, ends_s)
    parts = [begun, _service(visit.point, ends_s)]
    spectrum = np.ones(size + 1, dtype=complex)
    for reached in parts:
        spectrum *= np.fft.rfft(np.diff(reached, prepend=0.0), 2 * size)
    whole = np.fft.irfft(spectrum, 2 * size)
    cut = np.maximum(whole[: len(ends_s)], 0.0)
    cut[-1] += max(0.0, 1 - cut.sum())
    return cut


def _fill(visit: Visit, ends_s: Floats) -> Floats:
    """Return the share of requests whose batch is closed within each time."""
    longest_s = max_wait_s(visit.point)
    size, rate_rps = visit.point.batch_size, _each(visit)
    wait_s = fill_wait_s(batch_size=size, rate_rps=rate_rps, max_wait_s=longest_s)
    if wait_s <= 0:
        return np.ones(len(ends_s))
    is_timed = rate_rps * longest_s < size - 1
    first = 1 / (1 + rate_rps * longest_s) if is_timed else 0.0
    spread = np.minimum(1.0, ends_s / wait_s)
    return np.where(ends_s >= wait_s, 1.0, (1 - first) * spread)


def _queue(visit: Visit, ends_s: Floats) -> Floats:
    rate_rps = _each(visit)
    rho = utilisation(visit.point, rate_rps=rate_rps)
    if rho <= 0:
        return np.ones(len(ends_s))
    waits = all_busy(visit.replicas, rho)
    scale_s = queue_scale_s(visit.point, rate_rps=rate_rps, quantile=0.99) / visit.replicas
    if visit.replicas > 1:
        scale_s = max(scale_s, service_s(visit.point) * _RESIDUAL)
    if scale_s <= 0:
        return np.ones(len(ends_s))
    return np.asarray(1 - waits * np.exp(-ends_s / scale_s))


def all_busy(replicas: int, rho: float) -> float:
    """Return Erlang's C: the probability that all of c servers at utilisation rho are busy."""
    offered = replicas * rho
    blocked = 1.0
    for n in range(1, replicas + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked / (1 - rho * (1 - blocked))


def _service(point: ProfilePoint, ends_s: Floats) -> Floats:
    known = sorted(point.latency_s.items())
    seconds = [known[0][1] * 0.999, *(s for _, s in known)]
    shares = [0.0, *(q for q, _ in known)]
    reached = np.interp(ends_s, seconds, shares, left=0.0)
    return np.where(ends_s >= known[-1][1], 1.0, reached)
