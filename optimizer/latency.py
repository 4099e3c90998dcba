"""How long a request spends in one stage: plain arithmetic over a profile point.

A stage's replicas each have their own queue and batch; the router spreads requests evenly. So one
replica is looked at: it sees ``rate = load x visit ratio / replicas`` and serves a batch of b in
``b / throughput`` seconds. A request's time in the stage at the SLO's quantile q is taken to be

    fill wait (worst case) + queue wait (at q) + service (at q, as profiled)

which is an upper bound in practice: the three are rarely bad for the same request, and while a
replica is busy a batch fills at no extra cost. ``tests/unit/optimizer/test_latency.py`` holds it
against a simulated replica.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.domain import Profile, ProfilePoint

MAX_UTILISATION = 0.95
"""No replica is planned busier than this share of its time: a queue at 1 has no finite wait."""

_MAX_WAIT_GRAIN_S = 1e-4


def find_point(profile: Profile, *, batch_size: int, cpu_cores: float) -> ProfilePoint | None:
    """Return the point measured at that batch size and CPU, or ``None``."""
    return next(
        (
            p
            for p in profile.points
            if p.batch_size == batch_size and math.isclose(p.cpu_cores, cpu_cores, rel_tol=1e-9)
        ),
        None,
    )


def service_s(point: ProfilePoint) -> float:
    """Return the mean time [s] of one full batch: b / throughput."""
    return point.batch_size / point.throughput_rps


def max_wait_s(point: ProfilePoint) -> float:
    """Return how long [s] the predictor may hold a batch that is not full.

    It is the mean service time of a full batch, rounded up to 0.1 ms, and 0 for a batch of one.
    Holding a batch longer never pays: in that time the replica could have served what it had, and
    under pressure batches fill while the replica is busy, so the throughput is not at stake. It
    does not depend on the load, so that a plan for another load leaves the batching file as it is.
    """
    if point.batch_size == 1:
        return 0.0
    return math.ceil(service_s(point) / _MAX_WAIT_GRAIN_S - 1e-9) * _MAX_WAIT_GRAIN_S


def fill_wait_s(*, batch_size: int, rate_rps: float, max_wait_s: float) -> float:
    """Return the worst wait [s] for a batch to fill on one replica: min((b - 1) / rate, max_wait).

    The first request of a batch waits for b - 1 more (IPA equation 7, after FA2), but no longer
    than the predictor holds a batch. At rate 0 nobody else comes and the predictor's limit is the
    wait.
    """
    if batch_size == 1:
        return 0.0
    if rate_rps <= 0:
        return max_wait_s
    return min((batch_size - 1) / rate_rps, max_wait_s)


def utilisation(point: ProfilePoint, *, rate_rps: float) -> float:
    """Return the share of its time a replica is busy with full batches: rate / throughput."""
    return rate_rps / point.throughput_rps


def queue_wait_s(point: ProfilePoint, *, rate_rps: float, quantile: float) -> float:
    """Return the wait [s] for earlier batches at a quantile q; infinite when rho >= 1.

    With utilisation rho and mean batch service s, the mean wait for a single server is about ``W =
    s rho (ca2 + cs2) / (2 (1 - rho))`` (Kingman; for b = 1 it is Pollaczek-Khinchine's M/G/1). The
    wait is positive with probability rho and then close to exponential, ``P(wait > t) = rho
    exp(-rho t / W)``, hence the quantile ``max(0, W / rho x ln(rho / (1 - q)))``: it rises with the
    rate and is 0 while rho <= 1 - q.

    ``ca2``, the squared coefficient of variation between arrivals, is 1 / b: a batch arrives with
    every b-th request of a Poisson stream (Erlang). ``cs2``, that of the service time, is read off
    the profile: the distance from the mean to the latency at q, in standard deviations of a normal
    distribution, at most 1 (exponential service), because a longer tail is already in the service
    latency itself.
    """
    rho = utilisation(point, rate_rps=rate_rps)
    if rho >= 1:
        return math.inf
    if rho <= 1 - quantile:
        return 0.0
    scale_s = queue_scale_s(point, rate_rps=rate_rps, quantile=quantile)
    return scale_s * math.log(rho / (1 - quantile))


def queue_scale_s(point: ProfilePoint, *, rate_rps: float, quantile: float) -> float:
    """Return W / rho [s]: how long those wait, on average, that have to; see ``queue_wait_s``."""
    variability = 1 / point.batch_size + _service_scv(point, quantile)
    return service_s(point) * variability / (2 * (1 - utilisation(point, rate_rps=rate_rps)))


def _service_scv(point: ProfilePoint, quantile: float) -> float:
    z = NormalDist().inv_cdf(quantile)
    if z <= 0:
        return 0.0
    excess = max(0.0, point.latency_at(quantile) / service_s(point) - 1)
    return min(1.0, (excess / z) ** 2)


def stage_latency_s(
    point: ProfilePoint,
    *,
    load_rps: float,
    visit_ratio: float,
    replicas: int,
    quantile: float,
) -> float:
    """Return a request's time [s] in a stage at a quantile: fill wait + queue wait + service.

    ``load_rps`` is the rate at the pipeline's entry. Infinite when the replicas cannot keep up,
    which with no replica is any load above 0.
    """
    if load_rps > 0 and replicas == 0:
        return math.inf
    rate_rps = load_rps * visit_ratio / max(1, replicas)
    fill_s = fill_wait_s(
        batch_size=point.batch_size, rate_rps=rate_rps, max_wait_s=max_wait_s(point)
    )
    queue_s = queue_wait_s(point, rate_rps=rate_rps, quantile=quantile)
    return fill_s + queue_s + point.latency_at(quantile)


def stage_capacity_rps(point: ProfilePoint, *, replicas: int, visit_ratio: float) -> float:
    """Return the load [req/s] at the entry that n replicas carry: n x throughput / visit ratio."""
    return replicas * point.throughput_rps / visit_ratio


def replicas_needed(
    point: ProfilePoint, *, load_rps: float, visit_ratio: float, headroom: float
) -> int:
    """Return the fewest replicas that carry the load.

    That is the smallest n with ``n x throughput >= load x visit ratio x (1 + headroom)`` and a
    utilisation of at most ``MAX_UTILISATION``.
    """
    demand_rps = load_rps * visit_ratio * max(1 + headroom, 1 / MAX_UTILISATION)
    # A quotient that is whole but for rounding must not cost a replica, and any load needs one.
    enough = math.ceil(demand_rps / point.throughput_rps * (1 - 1e-9))
    return max(enough, 1) if load_rps > 0 else 0
