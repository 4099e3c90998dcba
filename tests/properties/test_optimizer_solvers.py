"""The back-ends against the oracle, on small problems of every kind."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from optimizer.problem import Problem
from optimizer.solvers import Status, make_solver
from tests.problems import problems


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(max_stages=4))
def test_frontier_equals_exhaustive(problem: Problem) -> None:
    ours = make_solver("frontier").solve(problem, time_limit_s=20)
    oracle = make_solver("exhaustive").solve(problem, time_limit_s=20)

    assert ours.status is oracle.status
    if oracle.status is Status.OPTIMAL:
        assert ours.objective == pytest.approx(oracle.objective, abs=1e-9)
        assert problem.is_feasible(problem.chosen(ours.choices))


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
