"""A problem's goal by any solver: once for a weighted sum, criterion by criterion for an order.

An order (accuracy first, or cost first) is solved exactly as a chain of problems: the best value of
the first criterion becomes a limit of the next problem, whose objective is the second criterion,
and so on. Cost is with what moving costs, where that counts. What differs by less than
``options.TOLERANCE``, as a share, counts as equal.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from optimizer.solvers import Solution, Status
from penstock.domain import Goal, Objective

if TYPE_CHECKING:
    from optimizer.problem import Problem
    from optimizer.solvers import Solver

_ACCURACY, _COST, _BATCHES = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_ORDERS = {
    Goal.ACCURACY_FIRST: (_ACCURACY, _COST, _BATCHES),
    Goal.COST_FIRST: (_COST, _ACCURACY, _BATCHES),
}


def solve_goal(solver: Solver, problem: Problem, *, time_limit_s: float) -> Solution:
    """Return the best choice by the problem's goal, or why there is none.

    ``Solution.objective`` is the weighted objective whatever the goal; in an order its bound is
    infinite unless every criterion was proven.
    """
    order = _ORDERS.get(problem.objective.goal)
    if order is None:
        return solver.solve(problem, time_limit_s=time_limit_s)
    started = time.perf_counter()
    narrowed, found = problem, Solution(status=Status.TIMED_OUT)
    proven = True
    for weights in order:
        left_s = time_limit_s - (time.perf_counter() - started)
        if left_s <= 0:
            proven = False
            break
        asked = replace(narrowed, objective=_weighed(narrowed.objective, weights))
        answer = solver.solve(asked, time_limit_s=left_s)
        if not answer.choices:
            proven = False
            found = found if found.choices else answer
            break
        found, proven = answer, proven and answer.status is Status.OPTIMAL
        narrowed = replace(_held(narrowed, weights, answer.choices), incumbent=answer.choices)
    return _in_weights(found, problem, proven=proven, seconds=time.perf_counter() - started)


def goal_key(problem: Problem, choices: tuple[int, ...]) -> tuple[float, ...]:
    """Return what a choice is ranked by under the problem's goal: the highest is the best."""
    chosen = problem.chosen(choices)
    accuracy, cost = problem.accuracy(chosen), -problem.paid(chosen)
    batches = -float(sum(o.batch_size for o in chosen))
    match problem.objective.goal:
        case Goal.ACCURACY_FIRST:
            return (accuracy, cost, batches)
        case Goal.COST_FIRST:
            return (cost, accuracy, batches)
        case Goal.WEIGHTED:
            return (problem.objective_of(chosen),)


def _weighed(objective: Objective, weights: tuple[float, float, float]) -> Objective:
    accuracy, cost, batch = weights
    return replace(
        objective,
        goal=Goal.WEIGHTED,
        accuracy_weight=accuracy,
        cost_weight=cost,
        batch_weight=batch,
    )


def _held(
    problem: Problem, weights: tuple[float, float, float], choices: tuple[int, ...]
) -> Problem:
    """Return the problem with the value of a criterion as a limit."""
    chosen = problem.chosen(choices)
    if weights == _ACCURACY:
        floor = max(problem.accuracy(chosen), problem.objective.accuracy_floor or 0.0)
        return replace(problem, objective=replace(problem.objective, accuracy_floor=floor))
    # Nothing is held to a cost of 0 by a limit that counts in shares of itself.
    if weights == _COST and problem.switches:
        return replace(problem, max_paid=max(problem.paid(chosen), 1e-9))
    cost = max(problem.cost(chosen), 1e-9)
    if weights == _COST and problem.is_priced:
        return replace(problem, max_cost_per_hour=cost)
    return replace(problem, max_cores=cost) if weights == _COST else problem


def _in_weights(found: Solution, problem: Problem, *, proven: bool, seconds: float) -> Solution:
    if not found.choices:
        return replace(found, seconds=seconds)
    objective = problem.objective_of(problem.chosen(found.choices))
    return replace(
        found,
        status=Status.OPTIMAL if proven else Status.FEASIBLE,
        objective=objective,
        bound=objective if proven else math.inf,
        seconds=seconds,
    )
