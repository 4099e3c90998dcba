"""The choices of one pipeline of a fleet: what it takes at a price, and which are near the best."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from optimizer.option_table import columns_of
from optimizer.solvers import Status
from optimizer.solvers.auto import AutoSolver
from optimizer.solvers.labels import CutShortError
from optimizer.solvers.terms import Terms, terms_of, within_reach
from optimizer.solvers.walk import Walk
from penstock.domain import AccuracyMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optimizer.problem import Problem

_CHEAPER = 1 - 3e-6
"""Just below a cost, by more than the limits' tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A choice of one pipeline, its cost and its objective."""

    cost: float
    objective: float
    choices: tuple[int, ...]


class Alone:
    """One pipeline, solved alone at a price per unit of cost: choices are met one by one."""

    def __init__(self, problem: Problem, priority: float, deadline_s: float) -> None:
        self._problem, self._priority = problem, priority
        self._deadline_s = deadline_s
        self.points: dict[tuple[int, ...], Point] = {}
        if self.is_empty:
            return
        terms = terms_of(problem)
        columns = [columns_of(stage.options) for stage in problem.stages]
        self._costs = [c.cost_per_hour if problem.is_priced else c.cost_cores for c in columns]
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
        self._terms = within_reach(watched)
        self._costs = [
            cost[stage.index] for cost, stage in zip(self._costs, self._terms.stages, strict=True)
        ]

    @property
    def is_empty(self) -> bool:
        """Whether a stage has nothing to choose."""
        return any(not stage.options for stage in self._problem.stages)

    def best(self, price: float) -> Point | None:
        """Return the choice that is worth most when cost is paid for."""
        each = price / self._priority

        def worth(point: Point) -> float:
            return point.objective - each * point.cost

        known = max(self.points.values(), key=worth, default=None)
        above = -math.inf if known is None else worth(known)
        found = Walk(self._paying(price), deadline_s=self._deadline_s).best(above)
        return self._point(found.choices) if found.choices else known

    def within(self, gap: float, price: float, best: Point) -> None:
        """Meet every choice worth no less than the best at a price less the gap."""
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

    def _point(self, choices: tuple[int, ...]) -> Point:
        if choices not in self.points:
            chosen = self._problem.chosen(choices)
            self.points[choices] = Point(
                cost=self._problem.cost(chosen),
                objective=self._problem.objective_of(chosen),
                choices=choices,
            )
        return self.points[choices]


class Choices(Protocol):
    """What the fleet asks of one pipeline; ``points`` are the choices met so far."""

    @property
    def points(self) -> Mapping[tuple[int, ...], Point]:
        """The choices met so far."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether a stage has nothing to choose."""
        ...

    def best(self, price: float) -> Point | None:
        """Return the choice that is worth most when cost is paid for."""
        ...

    def within(self, gap: float, price: float, best: Point) -> None:
        """Meet every choice worth no less than the best at a price less the gap."""
        ...


class Listed:
    """A pipeline whose accuracy is neither a sum nor a product: all its unbeaten choices.

    They are found from the dearest to the cheapest: the best choice of all, then the best of those
    that cost less, and so on until there is none. Whatever is not on the list costs no less than
    one that is on it and is worth no more. So the list has a best choice at every price, and under
    every budget.
    """

    def __init__(self, problem: Problem, priority: float, deadline_s: float) -> None:
        self._problem, self._priority = problem, priority
        self.points: dict[tuple[int, ...], Point] = {}
        if not self.is_empty:
            self._list(deadline_s)

    @property
    def is_empty(self) -> bool:
        """Whether a stage has nothing to choose."""
        return any(not stage.options for stage in self._problem.stages)

    def best(self, price: float) -> Point | None:
        """Return the choice that is worth most when cost is paid for."""
        each = price / self._priority
        return max(self.points.values(), key=lambda p: p.objective - each * p.cost, default=None)

    def within(self, gap: float, price: float, best: Point) -> None:
        """Meet nothing new: every choice is on the list."""

    def _list(self, deadline_s: float) -> None:
        asked = self._problem
        while True:
            left_s = deadline_s - time.perf_counter()
            if left_s <= 0:
                raise CutShortError
            solution = AutoSolver().solve(asked, time_limit_s=left_s)
            if solution.status is Status.INFEASIBLE:
                return
            if solution.status is not Status.OPTIMAL:
                raise CutShortError
            chosen = asked.chosen(solution.choices)
            point = Point(
                cost=asked.cost(chosen),
                objective=asked.objective_of(chosen),
                choices=solution.choices,
            )
            self.points[solution.choices] = point
            if point.cost <= 0:
                return
            asked = _below(asked, point.cost * _CHEAPER)


def _below(problem: Problem, cost: float) -> Problem:
    if problem.is_priced:
        return replace(problem, max_cost_per_hour=cost)
    return replace(problem, max_cores=cost)


def choices_of(problem: Problem, priority: float, deadline_s: float) -> Choices:
    """Return a pipeline's choices, in the way its accuracy is composed.

    Raises:
        CutShortError: the time was over before they were listed.
    """
    listed = problem.objective.mode is AccuracyMode.JOINT or problem.inseparable_node() is not None
    return (Listed if listed else Alone)(problem, priority, deadline_s)
