"""Many pipelines under one budget, in one solve, exactly.

Let every pipeline pay m per unit of cost. Once m is fixed the pipelines have nothing to do with
each other: each is solved alone, and the sum of what they reach, with m x budget added, bounds what
any plans within the budget can reach (Lagrangian relaxation; the bound is convex in m and its
minimum is found where its tangents meet). The plans met on the way, combined as well as they can
be, are a first answer. Whatever is better than it loses at most the gap to the bound, so each
pipeline loses at most the gap: only its choices within the gap of its own best at m have to be
looked at. One of them per pipeline is picked under the budget, a problem of the same form as one
pipeline's, by the same walk.

Where a pipeline's accuracy is neither a sum nor a product, all its unbeaten choices are listed at
once (``fleet_points``); nothing else changes.

No pipeline starves: one always gets a choice that serves its load within its SLO and its accuracy
floor, however low its priority. When even the cheapest ones are over the budget, the answer is
infeasible and says by how much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optimizer.fleet_points import Point, choices_of
from optimizer.plan import to_plan
from optimizer.solvers import Solution, Status, require_time_limit
from optimizer.solvers.labels import CutShortError
from optimizer.solvers.terms import LIMIT, StageTerms, Terms
from optimizer.solvers.walk import Walk
from penstock.domain import Goal
from penstock.errors import DomainError

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from penstock.domain import Plan

_NAME = "frontier"
_HIGHEST_PRICE = 1e9
_TANGENTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A pipeline's problem and what its objective counts for against the others'."""

    problem: Problem
    priority: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.priority) and self.priority > 0):
            raise DomainError(
                f"pipeline {self.problem.pipeline!r}: priority must be above 0, got {self.priority}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOutcome:
    """One plan per pipeline, in their order; none at all when the budget does not hold them."""

    status: Status
    plans: tuple[Plan, ...]
    objective: float
    cost: float
    seconds: float
    explanation: str


def plan_fleet(
    members: Sequence[Member], budget: float, *, time_limit_s: float = 10.0
) -> FleetOutcome:
    """Return the plans with the highest sum of priority x objective within a budget.

    The budget is in the members' unit of cost: money per hour where they have prices, else cores.

    Raises:
        DomainError: no member, members with and without prices, a goal that is no sum, or no time.
    """
    require_time_limit(time_limit_s)
    _require_alike(members)
    started = time.perf_counter()
    deadline_s = started + time_limit_s
    try:
        fleet = _Fleet(members, budget, deadline_s)
    except CutShortError:
        return replace(_none(started, "out of time"), status=Status.TIMED_OUT)
    empty = [m.problem.pipeline for m, f in zip(members, fleet.alone, strict=True) if f.is_empty]
    if empty:
        return _none(started, f"no plan at any cost for {', '.join(empty)}")
    try:
        points = fleet.solve()
    except _InfeasibleError as err:
        return _none(started, str(err))
    except CutShortError:
        return replace(_none(started, "out of time"), status=Status.TIMED_OUT)
    plans = tuple(_plan(m.problem, p) for m, p in zip(members, points, strict=True))
    return FleetOutcome(
        status=Status.OPTIMAL,
        plans=plans,
        objective=math.fsum(
            m.priority * plan.promise.objective for m, plan in zip(members, plans, strict=True)
        ),
        cost=math.fsum(p.cost for p in points),
        seconds=time.perf_counter() - started,
        explanation=f"{len(members)} pipelines, {sum(len(f.points) for f in fleet.alone)} choices",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """What the pipelines choose at a price, and the bound that follows."""

    price: float
    points: tuple[Point, ...]
    bound: float
    cost: float


class _Fleet:
    """The search over prices and the pick among the points it meets."""

    def __init__(self, members: Sequence[Member], budget: float, deadline_s: float) -> None:
        self._members, self._budget, self._deadline_s = members, budget, deadline_s
        self.alone = [choices_of(m.problem, m.priority, deadline_s) for m in members]

    def at(self, price: float) -> _Priced:
        points = [one.best(price) for one in self.alone]
        impossible = [
            m.problem.pipeline for m, p in zip(self._members, points, strict=True) if p is None
        ]
        if impossible:
            raise _InfeasibleError(f"no plan at any cost for {', '.join(impossible)}")
        known = tuple(p for p in points if p is not None)
        cost = math.fsum(p.cost for p in known)
        worth = math.fsum(
            m.priority * p.objective for m, p in zip(self._members, known, strict=True)
        )
        return _Priced(
            price=price,
            points=known,
            bound=worth - price * (cost - self._budget * LIMIT),
            cost=cost,
        )

    def tightest(self) -> _Priced:
        """Return the price at which the bound is lowest, by where its tangents meet."""
        low = self.at(0.0)
        if low.cost <= self._budget * LIMIT:
            return low
        high = self.at(1.0)
        while high.cost > self._budget * LIMIT:
            if high.price > _HIGHEST_PRICE:
                raise _InfeasibleError(
                    f"needs {high.cost:g} at the least, the budget is {self._budget:g}"
                )
            low, high = high, self.at(high.price * 16)
        best = min(low, high, key=lambda p: p.bound)
        for _ in range(_TANGENTS):
            rise = low.cost - high.cost
            if rise <= 0:
                break
            price = (
                high.bound
                - low.bound
                + low.price * (self._budget * LIMIT - low.cost)
                - high.price * (self._budget * LIMIT - high.cost)
            ) / (high.cost - low.cost)
            middle = self.at(price)
            expected = low.bound + (price - low.price) * (self._budget * LIMIT - low.cost)
            best = min(best, middle, key=lambda p: p.bound)
            if middle.bound >= expected - 1e-9 * (1 + abs(expected)):
                break
            if middle.cost > self._budget * LIMIT:
                low = middle
            else:
                high = middle
        return best

    def pick(self) -> tuple[tuple[Point, ...], float]:
        """Return the best combination of the points known within the budget, and its worth."""
        stages, known = [], []
        for member, one in zip(self._members, self.alone, strict=True):
            points = tuple(one.points.values())
            known.append(points)
            stages.append(
                StageTerms(
                    uses=np.array([[p.cost / self._budget] for p in points]),
                    values=member.priority * np.array([p.objective for p in points]),
                    factors=np.ones(len(points)),
                    index=np.arange(len(points)),
                )
            )
        found = Walk(Terms(stages=tuple(stages)), deadline_s=self._deadline_s).best(-math.inf)
        picked = tuple(points[i] for points, i in zip(known, found.choices, strict=True))
        return picked, found.value

    def solve(self) -> tuple[Point, ...]:
        """Return the best combination there is."""
        top = self.tightest()
        picked, worth = self.pick()
        gap = top.bound - worth
        if gap > 1e-9 * (1 + abs(top.bound)):
            for one, best in zip(self.alone, top.points, strict=True):
                one.within(gap, top.price, best)
            picked, _ = self.pick()
        return picked


class _InfeasibleError(Exception):
    """No plans keep the budget; the message says why."""


def _plan(problem: Problem, point: Point) -> Plan:
    solution = Solution(
        status=Status.OPTIMAL, choices=point.choices, objective=point.objective, solver=_NAME
    )
    return to_plan(solution, problem)


def _none(started: float, explanation: str) -> FleetOutcome:
    return FleetOutcome(
        status=Status.INFEASIBLE,
        plans=(),
        objective=-math.inf,
        cost=0.0,
        seconds=time.perf_counter() - started,
        explanation=explanation,
    )


def _require_alike(members: Sequence[Member]) -> None:
    if not members:
        raise DomainError("a fleet needs a pipeline")
    if len({m.problem.is_priced for m in members}) > 1:
        raise DomainError("one budget needs one unit: give all pipelines prices, or none")
    ordered = [m.problem.pipeline for m in members if m.problem.objective.goal is not Goal.WEIGHTED]
    if ordered:
        raise DomainError(f"a fleet adds objectives up: use goal weighted in {', '.join(ordered)}")
