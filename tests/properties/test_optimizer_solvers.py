"""The back-ends against the oracle, on small problems of every kind."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings

from optimizer.problem import Problem
from optimizer.solvers import Status, make_solver
from optimizer.solvers.goals import solve_goal
from penstock.domain import AccuracyMode, Goal, Option
from tests.problems import problems


@pytest.mark.parametrize("mode", AccuracyMode)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(max_stages=4))
def test_of_1000_problems_frontier_equals_exhaustive(mode: AccuracyMode, problem: Problem) -> None:
    problem = in_mode(problem, mode)
    ours = make_solver("frontier").solve(problem, time_limit_s=20)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=20)

    assert ours.status is oracle.status
    if oracle.status is Status.OPTIMAL:
        assert ours.objective == pytest.approx(oracle.objective, abs=1e-9)
        assert problem.is_feasible(problem.chosen(ours.choices))


@pytest.mark.parametrize("name", ["frontier", "highs"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(max_stages=3, ordered=True))
def test_goals_equal_the_best_of_all_choices(name: str, problem: Problem) -> None:
    solution = solve_goal(make_solver(name), problem, time_limit_s=20)

    indices = product(*(range(len(s.options)) for s in problem.stages))
    all_of_them = [c for c in map(problem.chosen, indices) if problem.is_feasible(c)]
    assert bool(all_of_them) == bool(solution.choices)
    if all_of_them:
        ours = keys(problem, problem.chosen(solution.choices))
        assert ours == pytest.approx(best(problem, all_of_them), abs=1e-9)


def in_mode(problem: Problem, mode: AccuracyMode) -> Problem:
    """The problem with another accuracy; joint accuracies are those of the product."""
    products = {
        tuple(o.variant for o in chosen): math.prod(o.accuracy for o in chosen)
        for chosen in product(*(s.options for s in problem.stages))
    }
    objective = replace(problem.objective, mode=mode)
    return replace(problem, objective=objective, joint_accuracy=problem.joint_accuracy or products)


def keys(problem: Problem, chosen: tuple[Option, ...]) -> tuple[float, ...]:
    accuracy, cost = problem.accuracy(chosen), -problem.cost(chosen)
    batches = -sum(o.batch_size for o in chosen)
    match problem.objective.goal:
        case Goal.ACCURACY_FIRST:
            return (accuracy, cost, batches)
        case Goal.COST_FIRST:
            return (cost, accuracy, batches)
    return (problem.objective_of(chosen),)


def best(problem: Problem, choices: list[tuple[Option, ...]]) -> tuple[float, ...]:
    """The highest keys, the first one first, equal but for rounding."""
    found = [keys(problem, chosen) for chosen in choices]
    for i in range(len(found[0])):
        top = max(key[i] for key in found)
        found = [key for key in found if key[i] >= top - 1e-9]
    return found[0]


@pytest.mark.parametrize("name", ["glpk", "highs"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems())
def test_mip_equals_exhaustive(name: str, problem: Problem) -> None:
    ours = make_solver(name).solve(problem, time_limit_s=20)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=20)

    assert ours.status is oracle.status
    if oracle.status is Status.OPTIMAL:
        assert ours.objective == pytest.approx(oracle.objective, abs=1e-9)
        assert problem.is_feasible(problem.chosen(ours.choices))
