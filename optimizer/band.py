"""The replicas between which an autoscaler may choose until the next plan, from the forecast.

Everything else of the plan stays as it is. The lower end carries a low quantile of the forecast, so
that most of what may come before the next tick is served without waiting for a pod; the upper end a
high one, which the plan was not made for.

All stages may be at their upper ends at once. When that would break ``max_cores`` or
``max_cost_per_hour``, what they may add to the plan is cut by the same share for all.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from optimizer.latency import find_point, replicas_needed, stage_latency_s
from optimizer.options import TOLERANCE

if TYPE_CHECKING:
    from penstock.domain import (
        Forecast,
        Option,
        Pipeline,
        Plan,
        Prices,
        ProfilePoint,
        ProfileTable,
    )


def with_band(
    plan: Plan, forecast: Forecast, pipeline: Pipeline, table: ProfileTable, *, trusted: bool = True
) -> Plan:
    """Return the plan with a band for every stage; without any where the forecast has no quantiles.

    With load data that are not ``trusted`` no band begins below the plan.
    """
    if not forecast.quantiles_rps:
        return replace(plan, stages=tuple(replace(o, band=None) for o in plan.stages))
    low_rps, high_rps = map(forecast.at, pipeline.adaptation.band_quantiles)
    lows = [_fewest(o, low_rps, pipeline, table) if trusted else o.replicas for o in plan.stages]
    highs = [_most(o, high_rps, pipeline, table) for o in plan.stages]
    share = _share(plan, highs, pipeline)
    stages = tuple(
        replace(o, band=(low, o.replicas + math.floor((high - o.replicas) * share)))
        for o, low, high in zip(plan.stages, lows, highs, strict=True)
    )
    return replace(plan, stages=stages)


def _fewest(option: Option, load_rps: float, pipeline: Pipeline, table: ProfileTable) -> int:
    """Return the fewest replicas that carry a load and are as fast as the plan says; or its own.

    A batch waits longer for a lower load, whatever the replicas; then the plan's are the fewest.
    """
    stage = pipeline.visited(pipeline.stage(option.stage))
    least = max(stage.min_replicas, _needed(option, load_rps, pipeline, table))
    point = _point(option, table)
    for replicas in range(least, option.replicas):
        latency_s = stage_latency_s(
            point,
            load_rps=load_rps,
            visit_ratio=stage.visit_ratio,
            replicas=replicas,
            quantile=pipeline.slo.quantile,
        )
        if latency_s <= option.latency_s * (1 + TOLERANCE):
            return replicas
    return option.replicas


def _most(option: Option, load_rps: float, pipeline: Pipeline, table: ProfileTable) -> int:
    """Return the replicas that carry a load, no fewer than the plan's and within the stage's."""
    most = pipeline.stage(option.stage).max_replicas
    return max(option.replicas, min(most, _needed(option, load_rps, pipeline, table)))


def _needed(option: Option, load_rps: float, pipeline: Pipeline, table: ProfileTable) -> int:
    stage = pipeline.visited(pipeline.stage(option.stage))
    return replicas_needed(
        _point(option, table),
        load_rps=load_rps,
        visit_ratio=stage.visit_ratio,
        headroom=pipeline.adaptation.headroom,
    )


def _point(option: Option, table: ProfileTable) -> ProfilePoint:
    profile = table.find(option.stage, option.variant)
    assert profile is not None, "the plan was made from these profiles"
    point = find_point(profile, batch_size=option.batch_size, cpu_cores=option.cpu_cores)
    assert point is not None, "the plan was made from these profiles"
    return point


def _share(plan: Plan, highs: list[int], pipeline: Pipeline) -> float:
    """Return what share of the added replicas the limits on cores and money leave."""
    share = 1.0
    units = [(pipeline.max_cores, [o.cpu_cores for o in plan.stages])]
    if pipeline.prices is not None:
        units.append((pipeline.max_cost_per_hour, _prices(plan, pipeline, pipeline.prices)))
    for limit, unit in units:
        added = _dot(unit, [high - o.replicas for o, high in zip(plan.stages, highs, strict=True)])
        if limit is not None and added > 0:
            spare = limit - _dot(unit, [o.replicas for o in plan.stages])
            share = min(share, max(0.0, spare) / added)
    return share


def _prices(plan: Plan, pipeline: Pipeline, prices: Prices) -> list[float]:
    return [
        prices.replica_hour(pipeline.stage(o.stage).variant(o.variant), cpu_cores=o.cpu_cores)
        for o in plan.stages
    ]


def _dot(units: list[float], replicas: list[int]) -> float:
    return math.fsum(unit * n for unit, n in zip(units, replicas, strict=True))
