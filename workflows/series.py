"""A recording as series over time: what the charts draw, computed without drawing anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise

import numpy as np

from components.pages.choice import Used
from penstock.domain import Mode, Plan
from workflows.recorded import (
    Recording,
    Request,
    Sample,
    Tick,
)
from workflows.summary import accuracy, attainment, quantile

SMOOTH_S = 5
"""A second holds too few items to tell an accuracy from chance; five are shown together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """A run by seconds of its schedule; NaN where there was nothing to take a figure from.

    All arrays have shape (seconds,): ``p50_s`` and ``p99_s`` over the requests scheduled in that
    second and answered, ``lost`` a count, ``missed`` the share later than the objective or lost,
    ``accuracy`` over ``SMOOTH_S`` seconds.
    """

    start_s: np.ndarray
    p50_s: np.ndarray
    p99_s: np.ndarray
    lost: np.ndarray
    missed: np.ndarray
    accuracy: np.ndarray


def by_second(recording: Recording) -> Seconds:
    """Cut a run into the seconds of its schedule."""
    count = int(np.ceil(recording.info.duration_s))
    cells: list[list[Request]] = [[] for _ in range(count)]
    for request in recording.requests:
        cells[min(int(request.scheduled_s), count - 1)].append(request)
    answered = [[r.latency_s for r in c if not r.lost and r.latency_s is not None] for c in cells]
    half = SMOOTH_S // 2
    around = [list(chain(*cells[max(0, i - half) : i + half + 1])) for i in range(count)]
    slo_s = recording.info.slo_s
    return Seconds(
        start_s=np.arange(count, dtype=float),
        p50_s=_floats(quantile(c, 0.5) for c in answered),
        p99_s=_floats(quantile(c, 0.99) for c in answered),
        lost=_floats(sum(r.lost for r in c) for c in cells),
        missed=_floats(1 - attainment(c, slo_s) if c else None for c in cells),
        accuracy=_floats(accuracy(c) for c in around),
    )


def spans_of(
    stage: str, timeline: Sequence[Sample], *, end_s: float
) -> list[tuple[float, float, str, int]]:
    """Join samples of equal variant and replicas to (start, stop, variant, replicas) in seconds."""
    states = [
        (s.time_s, s.stages[stage].variant, s.stages[stage].replicas)
        for s in timeline
        if stage in s.stages
    ]
    runs = [(key, next(group)[0]) for key, group in groupby(states, key=lambda state: state[1:])]
    stops = [start for _, start in runs[1:]] + [max(end_s, runs[-1][1])] if runs else []
    return [(start, stop, *key) for (key, start), stop in zip(runs, stops, strict=True)]


def running_capacity(recording: Recording) -> list[tuple[float, float]]:
    """Return (time, capacity [req/s]) of the plan that runs from each tick on.

    A tick records the plan that was found. It is the running one once a move to it went well, or
    when a tick keeps just what runs; before the first of these the capacity is not known (NaN).
    """
    found: list[tuple[float, float]] = []
    capacity_rps = float("nan")
    for tick in recording.ticks:
        if tick.plan is not None and (_carried_out(tick) or _runs(tick, recording.timeline)):
            capacity_rps = tick.plan.promise.capacity_rps
        found.append((tick.time_s, capacity_rps))
    return found


def used_plans(recording: Recording) -> tuple[Used, ...]:
    """Return the plans that ran, the longest first, each with its share of the run's time.

    What ran is read off the samples; which plan that was, off the ticks: plans of equal variants,
    replicas and cores are one here. Between two plans, in a switch, there is none.
    """
    made = [plan for tick in recording.ticks for plan in (tick.plan, tick.target) if plan]
    timeline, end_s = recording.timeline, recording.info.duration_s
    starts = [0.0, *(min(max(s.time_s, 0.0), end_s) for s in timeline[1:]), end_s]
    seconds: dict[tuple[str, ...], float] = {}
    for sample, (start, stop) in zip(timeline, pairwise(starts), strict=False):
        key = _ran(sample)
        seconds[key] = seconds.get(key, 0.0) + stop - start
    found = []
    for key, length_s in sorted(seconds.items(), key=lambda item: (-item[1], item[0])):
        plans = [plan for plan in made if _wanted(plan) == key]
        if plans and length_s > 0:
            loads = [plan.load_rps for plan in plans]
            span = (min(loads), max(loads))
            found.append(Used(plan=plans[-1], share=length_s / end_s, loads_rps=span))
    return tuple(found)


def _ran(sample: Sample) -> tuple[str, ...]:
    return tuple(sorted(f"{n} {s.variant} {s.replicas}" for n, s in sample.stages.items()))


def _wanted(plan: Plan) -> tuple[str, ...]:
    return tuple(sorted(f"{o.stage} {o.variant} {o.replicas}" for o in plan.stages))


def _carried_out(tick: Tick) -> bool:
    moved = tick.decision.kind == "move" and tick.mode is Mode.APPLY
    return moved and (tick.result is None or tick.result.ok)


def _runs(tick: Tick, timeline: Sequence[Sample]) -> bool:
    """Whether what runs at the tick is what its plan wants."""
    before = [sample for sample in timeline if sample.time_s <= tick.time_s]
    if not before or tick.plan is None:
        return False
    states = before[-1].stages
    return all(
        option.stage in states
        and states[option.stage].variant == option.variant
        and states[option.stage].replicas == option.replicas
        for option in tick.plan.stages
    )


def _floats(values: Iterable[float | None]) -> np.ndarray:
    return np.asarray([np.nan if v is None else float(v) for v in values])
