"""Many pipelines under one budget, in one solve, exactly.

Let every pipeline pay m per unit of cost. Once m is fixed the pipelines have nothing to do with
each other: each is solved alone, and the sum of what they reach, with m x budget added, bounds what
any plans within the budget can reach (Lagrangian relaxation; the bound is convex in m and its
minimum is found where its tangents meet). The plans met on the way, combined as well as they can
be, are a first answer. Whatever is better than it loses at most the gap to the bound, so each
pipeline loses at most the gap: only its choices within the gap of its own best at m have to be
looked at. One of them per pipeline is picked under the budget, a problem of the same form as one
pipeline's, by the same walk.

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

from optimizer.plan import to_plan
from optimizer.solvers import Solution, Status, require_time_limit
from optimizer.solvers.terms import LIMIT, StageTerms, Terms, terms_of, within_reach
from optimizer.solvers.walk import CutShortError, Walk, unbeaten
from penstock.domain import AccuracyMode
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
        DomainError: no member, members with and without prices, an accuracy that is neither a sum
            nor a product, or no time.
    """
    require_time_limit(time_limit_s)
    _require_alike(members)
    started = time.perf_counter()
    deadline_s = started + time_limit_s
    fleet = _Fleet(members, budget, deadline_s)
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
class _Point:
    """A choice of one pipeline, its cost and its objective."""

    cost: float
    objective: float
    choices: tuple[int, ...]


class _Alone:
    """One pipeline, solved alone at a price per unit of cost."""

    def __init__(self, member: Member, deadline_s: float) -> None:
        self._problem, self._priority = member.problem, member.priority
        self._deadline_s = deadline_s
        self.points: dict[tuple[int, ...], _Point] = {}
        if self.is_empty:
            return
        terms = terms_of(member.problem)
        self._costs = [
            np.array([member.problem.cost([o]) for o in stage.options])
            for stage in member.problem.stages
        ]
        size = max(1e-9, math.fsum(float(c.max()) for c in self._costs))
        # As a limit that nothing breaks the cost is a column that dominance looks at.
        self._limit = terms.limits
        watched = replace(
            terms,
            stages=tuple(
                replace(stage, uses=np.column_stack([stage.uses, cost / size]))
                for stage, cost in zip(terms.stages, self._costs, strict=True)
            ),
        )
        # What is beaten in cost and value is beaten at every price.
        self._terms = unbeaten(within_reach(watched))
        self._costs = [
            cost[stage.index] for cost, stage in zip(self._costs, self._terms.stages, strict=True)
        ]

    @property
    def is_empty(self) -> bool:
        return any(not stage.options for stage in self._problem.stages)

    def best(self, price: float) -> _Point | None:
        """Return the choice that is worth most when cost is paid for."""
        found = Walk(self._paying(price), deadline_s=self._deadline_s).best(-math.inf)
        return self._point(found.choices) if found.choices else None

    def within(self, gap: float, price: float, best: _Point) -> None:
        """Add every choice worth no less than the best at a price less the gap."""
        worth = best.objective - price / self._priority * best.cost
        least = worth - gap / self._priority
        walk = Walk(self._paying(price), deadline_s=self._deadline_s, keep=self._limit)
        for choices in walk.all_unbeaten(least - 1e-9 * (1 + abs(least))):
            self._point(choices)

    def _paying(self, price: float) -> Terms:
        each = price / self._priority
        return replace(
            self._terms,
            stages=tuple(
                replace(stage, values=stage.values - each * cost)
                for stage, cost in zip(self._terms.stages, self._costs, strict=True)
            ),
        )

    def _point(self, choices: tuple[int, ...]) -> _Point:
        if choices not in self.points:
            chosen = self._problem.chosen(choices)
            self.points[choices] = _Point(
                cost=self._problem.cost(chosen),
                objective=self._problem.objective_of(chosen),
                choices=choices,
            )
        return self.points[choices]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """What the pipelines choose at a price, and the bound that follows."""

    price: float
    points: tuple[_Point, ...]
    bound: float
    cost: float


class _Fleet:
    """The search over prices and the pick among the points it meets."""

    def __init__(self, members: Sequence[Member], budget: float, deadline_s: float) -> None:
        self._members, self._budget, self._deadline_s = members, budget, deadline_s
        self.alone = [_Alone(m, deadline_s) for m in members]

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

    def pick(self) -> tuple[tuple[_Point, ...], float]:
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

    def solve(self) -> tuple[_Point, ...]:
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


def _plan(problem: Problem, point: _Point) -> Plan:
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
    for member in members:
        node = member.problem.inseparable_node()
        if node is not None:
            raise DomainError(
                f"a fleet cannot weigh the accuracy of pipeline {member.problem.pipeline!r}: its "
                f"node {node} makes it neither a sum nor a product; use mode sum or mean and "
                "merge: mean"
            )
    joint = [m.problem.pipeline for m in members if m.problem.objective.mode is AccuracyMode.JOINT]
    if joint:
        raise DomainError(
            f"a fleet cannot weigh joint accuracies yet ({', '.join(joint)}); use the product"
        )
