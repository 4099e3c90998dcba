"""How often a batch is repeated until its latency is known well enough, and in which order.

A replica's latency drifts (frequency, neighbours, caches), so the batch sizes are visited in
several rounds, up and down, instead of one after the other: a bad moment then touches all of them a
little. Repeating ends when the confidence intervals of the median and of p95 are narrow enough, or
when the time is spent; fast variants therefore take less time than slow ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.errors import DomainError
from profiles.probe import Probe

WATCHED_QUANTILES = (0.5, 0.95)
"""Their confidence intervals decide when enough was measured."""

_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """How long to measure one variant.

    ``warmup`` batches, and at least ``warmup_s`` of them, are dropped at the start of every visit:
    they fill caches and spend what an idle replica has saved of its CPU share (one CFS period, 0.1
    s), so that what is measured is a replica under load. ``budget_s`` is for the measured batches
    of all sizes together, warming up not counted; ``min_samples`` of each size are taken even if
    that takes longer. ``ci`` is the half-width that a 95 % confidence interval may have, as a share
    of its quantile.
    """

    warmup: int = 3
    warmup_s: float = 0.15
    min_samples: int = 8
    max_samples: int = 400
    budget_s: float = 4.0
    ci: float = 0.05
    rounds: int = 2

    def __post_init__(self) -> None:
        counts = (self.warmup + 1, self.min_samples, self.rounds)
        if min(counts) < 1 or self.max_samples < self.min_samples:
            raise DomainError(
                "measure plan: needs warmup >= 0, rounds >= 1 and 1 <= min_samples <= max_samples, "
                f"got {self}"
            )
        shares = (self.warmup_s, self.budget_s, self.ci)
        if not all(math.isfinite(value) and value >= 0 for value in shares):
            raise DomainError(
                f"measure plan: warmup_s, budget_s and ci must be finite and at least 0, got {self}"
            )


class Stop(StrEnum):
    """Why no more was measured."""

    CONFIDENT = "confident"
    ENOUGH = "max samples"
    BUDGET = "time budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What was measured of one batch size: the seconds of each batch, in the order they ran."""

    batch_size: int
    seconds: tuple[float, ...]
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureProgress:
    """A batch size has been visited; ``share`` of the whole measurement is done."""

    batch_size: int
    samples: int
    share: float


OnProgress = Callable[[MeasureProgress], None]


def measure(
    probe: Probe,
    batch_sizes: Sequence[int],
    plan: MeasurePlan,
    *,
    on_progress: OnProgress | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> tuple[Samples, ...]:
    """Measure every batch size and return its samples, smallest batch first.

    Raises:
        ProfileError: the probe refused.
        UnreachableError: the probe's server did not answer.
    """
    found: Mapping[int, list[float]] = {size: [] for size in sorted(set(batch_sizes))}
    visits = _visits(tuple(found), plan.rounds)
    left_s = plan.budget_s
    for index, size in enumerate(visits):
        taken, later = found[size], visits[index + 1 :]
        if _stop(taken, plan) is None:
            if size not in visits[index - 1 : index]:
                _warm_up(probe, size, plan, timer)
            # What finished batch sizes did not need is shared by those that are still uncertain.
            uncertain = 1 + sum(_stop(found[other], plan) is None for other in later)
            least = plan.min_samples if size not in later else -(-plan.min_samples // plan.rounds)
            began_s = timer()
            ends_s = began_s + max(0.0, left_s) / uncertain
            while len(taken) < least or (timer() < ends_s and _stop(taken, plan) is None):
                taken.append(probe.run(size))
            left_s -= timer() - began_s
        if on_progress:
            share = (index + 1) / len(visits)
            on_progress(MeasureProgress(batch_size=size, samples=len(taken), share=share))
    return tuple(
        Samples(batch_size=size, seconds=tuple(taken), stop=_stop(taken, plan) or Stop.BUDGET)
        for size, taken in found.items()
    )


def confidence_half_width(seconds: Sequence[float], quantile: float) -> float:
    """Return the half-width of a quantile's 95 % confidence interval as a share of the quantile.

    The interval lies between two order statistics, whose ranks follow from the binomial
    distribution of the number of samples below the quantile (normal approximation; Conover,
    Practical Nonparametric Statistics, 3.2). It is infinite while the samples are too few to bound
    the quantile from above.
    """
    ordered = sorted(seconds)
    count = len(ordered)
    spread = _NORMAL_95 * math.sqrt(count * quantile * (1 - quantile))
    low = math.floor(count * quantile - spread)
    high = math.ceil(count * quantile + spread)
    if count == 0 or high > count - 1:
        return math.inf
    centre = ordered[min(count - 1, math.ceil(count * quantile) - 1)]
    return (ordered[high] - ordered[max(0, low)]) / 2 / centre


def _visits(sizes: Sequence[int], rounds: int) -> tuple[int, ...]:
    """Up, down, up …: at a turn the batch limit stays as it is and nothing has to warm up."""
    return tuple(
        size for turn in range(rounds) for size in (sizes if turn % 2 == 0 else sizes[::-1])
    )


def _warm_up(probe: Probe, size: int, plan: MeasurePlan, timer: Callable[[], float]) -> None:
    ends_s, done = timer() + plan.warmup_s, 0
    while done < plan.warmup or timer() < ends_s:
        probe.run(size)
        done += 1


def _stop(seconds: Sequence[float], plan: MeasurePlan) -> Stop | None:
    if len(seconds) < plan.min_samples:
        return None
    if len(seconds) >= plan.max_samples:
        return Stop.ENOUGH
    widths = (confidence_half_width(seconds, quantile) for quantile in WATCHED_QUANTILES)
    return Stop.CONFIDENT if all(width <= plan.ci for width in widths) else None
