from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from optimizer.plan import solve_plan, verify
from optimizer.solvers import make_solver
from optimizer.trade_off import cheapest_each, trade_off
from penstock.domain import Goal, Pipeline, Plan
from tests.builders import pipeline, profile_table

SOLVER = make_solver("exhaustive")


def front(of: Pipeline, load_rps: float, **options: int) -> tuple[Plan, ...]:
    return trade_off(of, profile_table(of), load_rps, solver=SOLVER, **options)


@pytest.mark.parametrize("load_rps", [0.0, 1.0, 40.0, 111.3])
def test_each_plan_costs_more_and_is_more_accurate_than_the_one_before(load_rps: float) -> None:
    of = pipeline()
    plans = front(of, load_rps)
    figures = [(plan.promise.cost, plan.promise.accuracy) for plan in plans]
    assert figures == sorted(set(figures))
    assert all(a[1] < b[1] for a, b in pairwise(figures))
    assert [fault for plan in plans for fault in verify(plan, of, profile_table(of))] == []


def test_the_ends_are_the_cheapest_and_the_most_accurate_plan() -> None:
    of = pipeline()
    plans = front(of, 40.0)
    for goal, end in ((Goal.COST_FIRST, plans[0]), (Goal.ACCURACY_FIRST, plans[-1])):
        asked = replace(of, objective=replace(of.objective, goal=goal))
        best = solve_plan(asked, profile_table(of), 40.0, solver=SOLVER).plan
        assert best is not None
        assert best.promise.cost == end.promise.cost
        assert best.promise.accuracy == end.promise.accuracy


def test_no_combination_of_variants_is_above_the_front() -> None:
    of = pipeline()
    plans = front(of, 40.0, points=64)
    every = cheapest_each(of, profile_table(of), 40.0, solver=SOLVER)
    assert len(every) == 4
    for one in every:
        assert any(
            p.promise.cost <= one.promise.cost * (1 + 1e-6)
            and p.promise.accuracy >= one.promise.accuracy * (1 - 1e-6)
            for p in plans
        )


def test_a_limit_of_the_pipeline_bounds_the_front() -> None:
    of = pipeline(max_cores=3.0)
    assert all(plan.promise.cost_cores <= 3.0 for plan in front(of, 40.0))


def test_a_load_that_nothing_serves_has_no_front() -> None:
    of = pipeline(max_cores=8.0)
    assert front(of, 1e6) == ()
    assert cheapest_each(of, profile_table(of), 1e6, solver=SOLVER) == ()


def test_too_many_combinations_are_left_out() -> None:
    of = pipeline()
    assert cheapest_each(of, profile_table(of), 40.0, solver=SOLVER, most=3) == ()
