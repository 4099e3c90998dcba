"""``latency`` for all points of a stage and all numbers of replicas at once, in numpy.

A stage of 50 variants, 7 batch sizes and 64 replicas has 22,400 latencies; one at a time they take
a quarter of a second, here two milliseconds. The formulas and their sources stand in ``latency``,
which also checks every plan; a property test holds the two together.

    points: (p,)    replicas: (n,)    latencies: (p, n)
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from optimizer.latency import max_wait_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.domain import ProfilePoint

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]
    Flags = NDArray[np.bool_]


def latency_grid_s(
    points: Sequence[ProfilePoint], *, replicas: Integers, load_rps: float, quantile: float
) -> Floats:
    """Return ``latency.stage_latency_s`` of each point with each number of replicas.

    ``load_rps`` is the rate at the stage, visit ratio included.
    """
    batch = np.array([float(p.batch_size) for p in points])[:, None]
    service_s = np.array([p.latency_at(quantile) for p in points])[:, None]
    longest_s = np.array([max_wait_s(p) for p in points])[:, None]
    rate_rps = load_rps / np.maximum(replicas, 1)[None, :]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        filled_s = np.where(rate_rps > 0, (batch - 1) / rate_rps, np.inf)
    fill_s = np.where(batch == 1, 0.0, np.minimum(filled_s, longest_s))
    queue_s = _queue_s(points, rate_rps=rate_rps, service_s=service_s, quantile=quantile)
    latency_s = fill_s + queue_s + service_s
    return np.where((load_rps > 0) & (replicas == 0)[None, :], np.inf, latency_s)


def worth_having(
    latency_s: Floats,
    *,
    points: Sequence[ProfilePoint],
    replicas: Integers,
    load_rps: float,
    quantile: float,
) -> Flags:
    """Return which numbers of replicas are faster than all lower ones.

    Where nothing queues at the quantile, one more replica only makes batches fill more slowly: what
    comes after the first such number is left out.
    """
    lowest = np.minimum.accumulate(latency_s, axis=1)
    is_faster = np.isfinite(latency_s)
    is_faster[:, 1:] &= latency_s[:, 1:] < lowest[:, :-1]
    never_queues = np.isfinite(latency_s) & (
        _utilisation(points, load_rps / np.maximum(replicas, 1)[None, :]) <= 1 - quantile
    )
    came_before = np.zeros_like(never_queues)
    came_before[:, 1:] = np.logical_or.accumulate(never_queues, axis=1)[:, :-1]
    return np.asarray(is_faster & ~came_before)


def _utilisation(points: Sequence[ProfilePoint], rate_rps: Floats) -> Floats:
    throughput_rps = np.array([p.throughput_rps for p in points])
    return np.asarray(rate_rps / throughput_rps[:, None])


def _queue_s(
    points: Sequence[ProfilePoint], *, rate_rps: Floats, service_s: Floats, quantile: float
) -> Floats:
    """Return ``latency.queue_wait_s``."""
    batch = np.array([float(p.batch_size) for p in points])[:, None]
    rho = _utilisation(points, rate_rps)
    mean_s = batch / np.array([p.throughput_rps for p in points])[:, None]
    z = NormalDist().inv_cdf(quantile)
    scv = np.zeros_like(mean_s)
    if z > 0:
        scv = np.minimum(1.0, (np.maximum(0.0, service_s / mean_s - 1) / z) ** 2)
    queues = (rho > 1 - quantile) & (rho < 1)
    inside = np.where(queues, rho, 0.5)
    scale_s = mean_s * (1 / batch + scv) / (2 * (1 - inside))
    wait_s = np.where(queues, scale_s * np.log(inside / (1 - quantile)), 0.0)
    return np.where(rho >= 1, np.inf, wait_s)
