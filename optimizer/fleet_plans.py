"""Plans for pipelines under one budget, whatever their loads: nobody starves, and never a crash.

Each pipeline first climbs its own ladder alone, so that a load which its own limits cannot carry
takes nothing from the others. What is left of all of them is solved under the budget. Where the
budget does not hold it, all shed the same share of their load: the smallest that is enough. A
pipeline's own limits of money are kept like the budget itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optimizer.fleet import FleetOutcome, Member, plan_fleet
from optimizer.ladder import Climb, climb
from optimizer.options import falls_short
from optimizer.problem import build_problem
from optimizer.solvers import Status, require_time_limit
from optimizer.verify import verify
from penstock.errors import BrokenPromiseError

if TYPE_CHECKING:
    from optimizer.solvers import Solver
    from penstock.domain import Pipeline, Plan, ProfileTable

_GRAIN = 0.005
_LEAST_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A pipeline, its profiles, the load [req/s] it is to serve, and what its objective counts."""

    pipeline: Pipeline
    table: ProfileTable
    load_rps: float
    priority: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """What one pipeline gets: its plan in the fleet, and how it would have done alone.

    ``limit`` is its part of the budget: what the plan costs and a part of what is left over, so
    that all limits together are within the budget.
    """

    ask: Ask
    plan: Plan
    alone: Climb
    limit: float

    @property
    def shed_rps(self) -> float:
        """The load [req/s] that is not served."""
        return max(0.0, self.ask.load_rps - self.plan.load_rps)

    @property
    def degraded(self) -> tuple[str, ...]:
        """What it lost to its own limits, and to the others; empty when nothing."""
        best = self.alone.plan
        assert best is not None, "a fleet has plans only where each pipeline has one alone"
        words = [self.alone.words] if self.alone.given_up else []
        if falls_short(self.plan.load_rps, self.alone.served_rps):
            words.append(f"the budget sheds {self.alone.served_rps - self.plan.load_rps:.4g} req/s")
        if falls_short(self.plan.promise.accuracy, best.promise.accuracy):
            words.append(
                f"accuracy {self.plan.promise.accuracy:.4g}, alone {best.promise.accuracy:.4g}"
            )
        return tuple(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlans:
    """One berth per pipeline, in their order; none when not even no load fits the budget.

    ``load_share`` is the share of what each could serve alone that all of them do serve.
    """

    berths: tuple[Berth, ...]
    budget: float
    cost: float
    load_share: float
    explanation: str


def plan_asks(
    asks: Sequence[Ask], budget: float, *, solver: Solver, time_limit_s: float = 10.0
) -> FleetPlans:
    """Return the best plans within a budget, in cores or in money where pipelines have prices.

    Raises:
        ProfileError: profiles are missing.
        DomainError: pipelines that one budget cannot weigh, or no time.
        BrokenPromiseError: a plan does not keep what it promises.
    """
    require_time_limit(time_limit_s)
    deadline_s = time.perf_counter() + time_limit_s
    alone = [_alone(ask, solver, _left_s(deadline_s)) for ask in asks]
    stuck = [
        f"pipeline {ask.pipeline.name!r}: {one.explanation}"
        for ask, one in zip(asks, alone, strict=True)
        if one.plan is None
    ]
    if stuck:
        return _none(budget, "; ".join(stuck))

    def solved(share: float) -> FleetOutcome:
        members = [
            Member(
                problem=build_problem(one.asked, ask.table, one.served_rps * share),
                priority=ask.priority,
            )
            for ask, one in zip(asks, alone, strict=True)
        ]
        return plan_fleet(members, budget, time_limit_s=_left_s(deadline_s))

    first = outcome = solved(1.0)
    low, high = 0.0, 1.0
    if first.status is Status.INFEASIBLE:
        outcome = solved(low)
    while outcome.plans and first.status is Status.INFEASIBLE and high - low > _GRAIN:
        middle = (low + high) / 2
        tried = solved(middle)
        outcome, low, high = (tried, middle, high) if tried.plans else (outcome, low, middle)
    if not outcome.plans:
        return _none(budget, f"{first.explanation}; with no load at all: {outcome.explanation}")
    return _docked(asks, alone, outcome, budget, low if first.plans == () else 1.0)


def _alone(ask: Ask, solver: Solver, time_limit_s: float) -> Climb:
    """Return how a pipeline does with the whole budget to itself; a wanted accuracy is no limit."""
    objective = replace(ask.pipeline.objective, accuracy_target=None)
    plain = replace(ask.pipeline, objective=objective)
    return climb(
        plain,
        ask.table,
        ask.load_rps,
        solver=solver,
        time_limit_s=time_limit_s,
        cost_ceiling=plain.max_cost_per_hour,
    )


def _docked(
    asks: Sequence[Ask],
    alone: Sequence[Climb],
    outcome: FleetOutcome,
    budget: float,
    share: float,
) -> FleetPlans:
    stretch = max(1.0, budget / outcome.cost) if outcome.cost > 0 else 1.0
    berths = []
    for ask, one, plan in zip(asks, alone, outcome.plans, strict=True):
        broken = verify(plan, one.asked, ask.table)
        if broken:
            raise BrokenPromiseError(
                f"the fleet's plan for {ask.pipeline.name!r} does not hold: {'; '.join(broken)}"
            )
        berths.append(Berth(ask=ask, plan=plan, alone=one, limit=plan.promise.cost * stretch))
    words = outcome.explanation
    if share < 1:
        words += f"; the budget holds {share:.1%} of each pipeline's load"
    return FleetPlans(
        berths=tuple(berths),
        budget=budget,
        cost=math.fsum(berth.plan.promise.cost for berth in berths),
        load_share=share,
        explanation=words,
    )


def _none(budget: float, explanation: str) -> FleetPlans:
    return FleetPlans(berths=(), budget=budget, cost=0.0, load_share=0.0, explanation=explanation)


def _left_s(deadline_s: float) -> float:
    return max(_LEAST_S, deadline_s - time.perf_counter())
