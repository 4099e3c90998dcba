"""Accuracy against cost: the plans for a load of which none beats another in both.

By the epsilon constraint: the most accurate plan under each of several limits on cost, and among
equally accurate ones the cheapest. Each point is exact; between two limits there may be more.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from optimizer.options import TOLERANCE
from optimizer.plan import solve_plan
from penstock.domain import Goal

if TYPE_CHECKING:
    from optimizer.solvers import Solver
    from penstock.domain import Pipeline, Plan, ProfileTable


def trade_off(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    points: int = 16,
    time_limit_s: float = 10.0,
) -> tuple[Plan, ...]:
    """Return at most ``points`` plans for a load [req/s at the entry], the cheapest first.

    Empty when the load can't be served. ``time_limit_s`` is for all solves together; a point that
    is not found in its share of it is left out.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """

    def best(goal: Goal, most: float | None = None) -> Plan | None:
        asked = replace(pipeline, objective=replace(pipeline.objective, goal=goal))
        if pipeline.prices is None:
            asked = replace(asked, max_cores=pipeline.max_cores if most is None else most)
        elif most is not None:
            asked = replace(asked, max_cost_per_hour=most)
        return solve_plan(
            asked, table, load_rps, solver=solver, time_limit_s=time_limit_s / points
        ).plan

    low, high = best(Goal.COST_FIRST), best(Goal.ACCURACY_FIRST)
    if low is None or high is None:
        return tuple(plan for plan in (low, high) if plan is not None)
    cheapest, dearest = low.promise.cost, high.promise.cost
    inner = max(0, points - 2)
    limits = [cheapest + (dearest - cheapest) * (i + 1) / (inner + 1) for i in range(inner)]
    found = [low, *(best(Goal.ACCURACY_FIRST, limit) for limit in limits), high]
    return _unbeaten([plan for plan in found if plan is not None])


def cheapest_each(
    pipeline: Pipeline,
    table: ProfileTable,
    load_rps: float,
    *,
    solver: Solver,
    most: int = 64,
    time_limit_s: float = 10.0,
) -> tuple[Plan, ...]:
    """Return the cheapest plan of each combination of variants that can serve a load [req/s].

    Empty when there are more than ``most`` combinations.

    Raises:
        ProfileError: profiles are missing.
        DomainError: the load or the time limit makes no sense.
    """
    if math.prod(len(stage.variants) for stage in pipeline.stages) > most:
        return ()
    cheap = replace(pipeline, objective=replace(pipeline.objective, goal=Goal.COST_FIRST))
    found = []
    for variants in itertools.product(*(stage.variants for stage in pipeline.stages)):
        pairs = zip(pipeline.stages, variants, strict=True)
        one = replace(cheap, stages=tuple(replace(s, variants=(v,)) for s, v in pairs))
        outcome = solve_plan(one, table, load_rps, solver=solver, time_limit_s=time_limit_s / most)
        if outcome.plan is not None:
            found.append(outcome.plan)
    return tuple(found)


def _unbeaten(plans: list[Plan]) -> tuple[Plan, ...]:
    """Return the plans that are more accurate than every cheaper one, by cost."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda p: (p.promise.cost, -p.promise.accuracy)):
        if not kept or plan.promise.accuracy > kept[-1].promise.accuracy * (1 + TOLERANCE):
            kept.append(plan)
    return tuple(kept)
