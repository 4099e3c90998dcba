from __future__ import annotations

from optimizer.solvers import Solution, Status, make_solver
from optimizer.solvers.auto import FEW_CHOICES, _better
from tests.problems import hard_problem, options, problem


def test_a_handful_of_choices_is_tried_one_after_the_other() -> None:
    few = problem(options("a", *[{"variant": f"v{i}"} for i in range(FEW_CHOICES)]))

    assert make_solver("auto").solve(few, time_limit_s=5).solver == "exhaustive"


def test_more_choices_go_to_the_frontier() -> None:
    solution = make_solver("auto").solve(hard_problem(), time_limit_s=5)

    assert (solution.solver, solution.status) == ("frontier", Status.OPTIMAL)


def test_without_time_the_answer_makes_no_claim() -> None:
    solution = make_solver("auto").solve(hard_problem(), time_limit_s=1e-6)

    assert solution.status in (Status.TIMED_OUT, Status.FEASIBLE)


def test_of_two_unproven_answers_the_better_one_stands_with_the_lower_bound() -> None:
    worse = Solution(status=Status.FEASIBLE, choices=(0,), objective=1.0, bound=3.0)
    better = Solution(status=Status.FEASIBLE, choices=(1,), objective=2.0, bound=4.0)

    both = _better(worse, better, seconds=1.0)

    assert (both.choices, both.objective, both.bound) == ((1,), 2.0, 3.0)


def test_a_proof_beats_a_higher_hope() -> None:
    hope = Solution(status=Status.FEASIBLE, choices=(0,), objective=1.0, bound=3.0)
    proof = Solution(status=Status.OPTIMAL, choices=(1,), objective=1.5, bound=1.5)

    assert _better(hope, proof, seconds=1.0).status is Status.OPTIMAL
    nothing = Solution(status=Status.TIMED_OUT)
    assert _better(nothing, nothing, seconds=1.0).status is Status.TIMED_OUT
