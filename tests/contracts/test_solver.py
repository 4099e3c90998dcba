"""What every Solver back-end does: the same cases over all of them."""

from __future__ import annotations

import math

import pytest

from optimizer.solvers import SOLVERS, Solution, Solver, Status, make_solver
from penstock.domain import AccuracyMode, Objective, Slo
from penstock.errors import DomainError
from tests.problems import options, problem


@pytest.fixture(params=SOLVERS)
def solver(request: pytest.FixtureRequest) -> Solver:
    return make_solver(request.param)


def solve(solver: Solver, *stages: object, **fields: object) -> Solution:
    return solver.solve(problem(*stages, **fields), time_limit_s=20)  # type: ignore[arg-type]


FAST = {"variant": "fast", "latency_s": 0.1, "accuracy": 0.5, "cpu_cores": 1.0}
GOOD = {"variant": "good", "latency_s": 0.6, "accuracy": 0.9, "cpu_cores": 4.0}


def weights(accuracy: float, cost: float = 0.0, **fields: object) -> Objective:
    return Objective(accuracy_weight=accuracy, cost_weight=cost, batch_weight=0.0, **fields)  # type: ignore[arg-type]


def test_most_accurate_wins_when_nothing_speaks_against_it(solver: Solver) -> None:
    solution = solve(solver, options("a", FAST, GOOD))

    assert solution.status is Status.OPTIMAL
    assert solution.choices == (1,)
    assert solution.objective == pytest.approx(0.9)
    assert solution.bound == solution.objective


def test_cheapest_wins_when_only_cost_counts(solver: Solver) -> None:
    solution = solve(solver, options("a", GOOD, FAST), objective=weights(0.0, 1.0))

    assert solution.choices == (1,)
    assert solution.objective == pytest.approx(-1.0)


def test_smaller_batch_wins_a_tie(solver: Solver) -> None:
    batches = options("a", {"batch_size": 8}, {"batch_size": 2}, {"batch_size": 4})

    solution = solve(solver, batches, objective=Objective(accuracy_weight=10.0, batch_weight=1e-6))

    assert solution.choices == (1,)


def test_slo_bounds_the_sum_over_the_path(solver: Solver) -> None:
    solution = solve(solver, options("a", FAST, GOOD), options("b", FAST, GOOD))

    assert sorted(solution.choices) == [0, 1]


def test_each_path_has_its_own_sum(solver: Solver) -> None:
    stages = [options(name, FAST, GOOD) for name in ("a", "b", "c")]

    solution = solve(solver, *stages, paths=((0, 1), (0, 2)), objective=weights(1, mode="mean"))

    assert solution.choices == (0, 1, 1)


def test_a_limit_that_is_met_exactly_is_met(solver: Solver) -> None:
    # Three times 0.1 is a little more than 0.3 in binary.
    stages = [options(name, FAST) for name in ("a", "b", "c")]

    solution = solve(solver, *stages, slo=Slo(latency_s=0.3), max_cores=3.0)

    assert solution.choices == (0, 0, 0)


def test_max_cores_bounds_all_replicas_together(solver: Solver) -> None:
    stages = [options("a", FAST, {**GOOD, "latency_s": 0.1}), options("b", {"replicas": 3})]

    assert solve(solver, *stages, max_cores=7.0).choices == (1, 0)
    assert solve(solver, *stages, max_cores=6.0).choices == (0, 0)


@pytest.mark.parametrize(
    "limit", [{"slo": Slo(latency_s=0.15)}, {"max_cores": 1.5}], ids=["slo", "cores"]
)
def test_infeasible_is_a_status(solver: Solver, limit: dict[str, object]) -> None:
    solution = solve(solver, options("a", FAST), options("b", FAST), **limit)

    assert solution.status is Status.INFEASIBLE
    assert solution.choices == ()
    assert solution.objective == solution.bound == -math.inf
    assert solution.gap == math.inf


def test_a_stage_without_options_is_infeasible(solver: Solver) -> None:
    assert solve(solver, options("a", FAST), options("b")).status is Status.INFEASIBLE


def test_product_counts_every_stage(solver: Solver) -> None:
    stages = [
        options(f"s{i}", {"variant": "bad", "accuracy": 0.2}, {"variant": "ok", "accuracy": 0.9})
        for i in range(6)
    ]

    solution = solve(solver, *stages)

    assert solution.choices == (1,) * 6
    assert solution.objective == pytest.approx(0.9**6)


def test_a_stage_that_is_never_right_makes_the_product_zero(solver: Solver) -> None:
    solution = solve(solver, options("a", {**FAST, "accuracy": 0.0}), options("b", FAST))

    assert solution.objective == 0


def test_joint_accuracy_may_prefer_what_the_product_would_not(solver: Solver) -> None:
    quick = {**GOOD, "latency_s": 0.1}
    joint = {
        ("fast", "fast"): 0.3,
        ("fast", "good"): 0.8,
        ("good", "fast"): 0.4,
        ("good", "good"): 0.7,
    }

    solution = solve(
        solver,
        options("a", FAST, quick),
        options("b", FAST, quick),
        objective=weights(1.0, mode=AccuracyMode.JOINT),
        joint_accuracy=joint,
    )

    assert solution.choices == (0, 1)
    assert solution.objective == pytest.approx(0.8)


def test_joint_combinations_that_are_not_offered_do_not_matter(solver: Solver) -> None:
    solution = solve(
        solver,
        options("a", FAST),
        objective=weights(1.0, mode=AccuracyMode.JOINT),
        joint_accuracy={("fast",): 0.3, ("good",): 0.9, ("fast", "good"): 1.0},
    )

    assert solution.objective == pytest.approx(0.3)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, math.nan])
def test_a_time_limit_must_leave_time(solver: Solver, limit_s: float) -> None:
    with pytest.raises(DomainError, match="time limit"):
        solver.solve(problem(options("a", FAST)), time_limit_s=limit_s)


def test_solution_says_who_found_it_and_how_long_it_took(solver: Solver) -> None:
    solution = solve(solver, options("a", FAST))

    assert solution.solver == solver.name or solver.name == "auto"
    assert solution.solver in SOLVERS
    assert 0 <= solution.seconds < 20
    assert solution.explanation


def test_the_same_problem_has_the_same_answer(solver: Solver) -> None:
    stages = [options(name, FAST, GOOD, FAST) for name in ("a", "b", "c")]

    assert solve(solver, *stages).choices == solve(solver, *stages).choices
