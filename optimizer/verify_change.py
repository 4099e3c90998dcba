"""What a plan says of change, once more in plain arithmetic: what moving costs, and its bands.

Nothing of ``switching`` or ``band`` is asked, so that a mistake in either of them shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimizer.options import exceeds

if TYPE_CHECKING:
    from optimizer.switching import Running
    from penstock.domain import Option, Pipeline, Plan, Prices, ProfileTable, Stage


def moving_cost(
    plan: Plan, pipeline: Pipeline, table: ProfileTable, running: Running | None
) -> float:
    """Return what it costs to move to a plan from the running one; 0 when nothing runs."""
    before = {o.stage: o for o in running.plan.stages} if running else {}
    if running is None or any(stage.name not in before for stage in pipeline.stages):
        return 0.0
    total = math.fsum(
        _unit_seconds(before[option.stage], option, pipeline, table) for option in plan.stages
    )
    return total * pipeline.adaptation.switch_weight / running.ruling_s


def _unit_seconds(now: Option, then: Option, pipeline: Pipeline, table: ProfileTable) -> float:
    """Return the seconds of cores, or of money per hour, that one stage's change takes."""
    adaptation, stage = pipeline.adaptation, pipeline.stage(then.stage)
    profile = table.find(then.stage, then.variant)
    start_s = adaptation.start_s
    if profile is not None and profile.load_time_s > 0:
        start_s = profile.load_time_s
    same_pods = now.variant == then.variant and math.isclose(
        now.cpu_cores, then.cpu_cores, rel_tol=1e-9
    )
    if not same_pods and now.replicas > 0:
        overlap_s = start_s + adaptation.rollout_s + adaptation.drain_s
        return now.replicas * _unit(now, stage, pipeline) * overlap_s
    added = then.replicas - (now.replicas if same_pods else 0)
    return max(0, added) * _unit(then, stage, pipeline) * start_s


def _unit(option: Option, stage: Stage, pipeline: Pipeline) -> float:
    """Return what one replica costs: cores, or money per hour."""
    prices = pipeline.prices
    if prices is None:
        return option.cpu_cores
    if option.variant not in [v.name for v in stage.variants]:
        return option.cost_per_hour / option.replicas
    return hourly(option, stage, prices, replicas=1)


def hourly(option: Option, stage: Stage, prices: Prices | None, *, replicas: int) -> float:
    """Return the bill of one hour, resource class by resource class."""
    if prices is None:
        return 0.0
    variant = stage.variant(option.variant)
    share = prices.spot_share if variant.spot else 1.0
    cpu = prices.cpu_core_hour * option.cpu_cores * replicas
    memory = prices.memory_gib_hour * variant.memory_mib / 1024 * replicas
    gpu = prices.gpu_hour * variant.gpus * replicas
    return (cpu + memory + gpu) * share


def band_faults(plan: Plan, pipeline: Pipeline) -> Iterator[str]:
    """Yield what is wrong with the bands: all at their highest must keep every limit."""
    if any(option.band is None for option in plan.stages):
        if any(option.band is not None for option in plan.stages):
            yield "stages: some have a band and others none"
        return
    cores = money = 0.0
    for i, (option, stage) in enumerate(zip(plan.stages, pipeline.stages, strict=True)):
        low, high = option.band or (option.replicas, option.replicas)
        if not stage.min_replicas <= low <= option.replicas <= high <= stage.max_replicas:
            yield (
                f"stages[{i}].band: is {low} to {high}, must hold the plan's {option.replicas} and "
                f"lie within {stage.min_replicas} to {stage.max_replicas}"
            )
        cores += option.cpu_cores * high
        money += _unit(option, stage, pipeline) * high
    if pipeline.max_cores is not None and exceeds(cores, pipeline.max_cores):
        yield f"stages: bands go up to {cores:g} cores, max_cores is {pipeline.max_cores:g}"
    budget = pipeline.max_cost_per_hour
    if budget is not None and exceeds(money, budget):
        yield f"stages: bands go up to {money:.2f} per hour, max_cost_per_hour is {budget:.2f}"
